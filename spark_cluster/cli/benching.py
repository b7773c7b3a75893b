"""From the options of `bench` to a file of results: find the server, load it, write down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spark_cluster import __version__
from spark_cluster.bench import files, vllm_serve
from spark_cluster.bench.client import Client
from spark_cluster.bench.load import Load, calibrate
from spark_cluster.bench.plan import Settings, Step, fitting, steps
from spark_cluster.bench.results import Kind, Run, Server
from spark_cluster.cli.bench_place import Place, at_endpoint, on_cluster
from spark_cluster.cli.bench_view import View
from spark_cluster.core.error import InputError, Interrupted
from spark_cluster.core.secret import Secret
from spark_cluster.runner.journal import new_run

_NUMBER = re.compile(r"(\d{1,7})([kK]?)", re.ASCII)


@dataclass(frozen=True)
class Scope:
    """What to measure: an endpoint, or what runs on the inventory's hosts."""

    recipe: str | None
    endpoint: str | None
    model: str | None
    key_variable: str | None
    inventory: str | None
    hosts: list[str] | None


@dataclass(frozen=True)
class Ask:
    """Everything that the command line asked for; `sample` in seconds."""

    settings: Settings
    scope: Scope
    output: Path | None
    sample: float = 5.0
    vllm: bool = False
    as_json: bool = False
    run: str = field(default_factory=new_run)


def numbers(option: str, given: str, *, most: int) -> tuple[int, ...]:
    """`1,2,4` or `1K,64K` as numbers. Raises InputError."""
    found = []
    for word in filter(None, (word.strip() for word in given.split(","))):
        match = _NUMBER.fullmatch(word)
        value = int(match[1]) * (1024 if match[2] else 1) if match else 0
        if not 1 <= value <= most:
            raise InputError(
                f"{option} {given}: {word!r} is no number from 1 to {most}",
                remedy="Numbers with commas between, such as 1,64,256; 8K is 8192.",
            )
        found.append(value)
    if not found:
        raise InputError(f"{option} is empty", remedy="Give at least one number.")
    return tuple(dict.fromkeys(found))


def settings(kind: Kind, levels: tuple[int, ...], *, salt: str | None, **given: Any) -> Settings:
    """The settings of a run. Raises InputError for two ends of a level."""
    if given["requests"] is not None and given["seconds"] is not None:
        raise InputError(
            "--requests and --seconds do not go together",
            remedy="A level ends by one of them.",
        )
    return Settings(kind, levels, salt=salt or "", **given)


def measure(ask: Ask) -> int:
    """Run it. Exit 0 if every request succeeded, 1 if one failed."""
    if ask.vllm and ask.settings.seconds is not None:
        raise InputError(
            "`vllm bench serve` counts requests, not seconds",
            remedy="Give --requests with --vllm.",
        )
    ask = replace(ask, settings=replace(ask.settings, salt=ask.settings.salt or ask.run))
    scope = ask.scope
    with _sigterm_is_ctrl_c():
        if scope.endpoint is not None:
            _refuse_endpoint(ask)
            return _measure(ask, at_endpoint(scope.endpoint))
        with on_cluster(scope.recipe, scope.inventory, scope.hosts, ask.sample) as place:
            return _measure(ask, place)


@contextlib.contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    """Being told to end keeps the levels that are over, too."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _refuse_endpoint(ask: Ask) -> None:
    if ask.scope.recipe is not None:
        raise InputError(
            "a recipe and --endpoint do not go together",
            remedy="A recipe is looked for on the inventory's hosts; --endpoint needs none.",
        )
    if ask.vllm:
        raise InputError(
            "--vllm needs the head's container, --endpoint knows none",
            remedy="Leave --endpoint out, or run `vllm bench serve` yourself: "
            "`spark-cluster bench compare` reads its file.",
        )


def _key(variable: str | None) -> Secret | None:
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise InputError(
            f"--api-key-env {variable}: the variable is not set", remedy=f"export {variable}=…"
        )
    return Secret(value)


@dataclass
class _Found:
    """What the server said before the load began."""

    server: Server | None = None
    prompts: str = ""
    notes: tuple[str, ...] = ()


def _measure(ask: Ask, place: Place) -> int:
    key = _key(ask.scope.key_variable)
    view = View(
        ask.settings, beside=place.sampler is not None and not ask.vllm, as_json=ask.as_json
    )
    started, found = _now(), _Found(notes=place.notes)
    interrupted = False
    try:
        if ask.vllm:
            _load_by_vllm(ask, place, key, view, found)
        else:
            asyncio.run(_load(ask, place, key, view, found))
    except KeyboardInterrupt:
        interrupted = True
        place.abort()
    finally:
        view.stop()
        place.stop()
    if interrupted and not view.levels:
        raise Interrupted(
            "stopped before the first level was over",
            remedy="Nothing was written. --requests or --levels make a run shorter.",
        )
    assert found.server is not None
    run = Run(
        program=f"spark-cluster {__version__}",
        tool=vllm_serve.TOOL if ask.vllm else "spark-cluster bench",
        kind=ask.settings.kind,
        run=ask.run,
        started=started,
        ended=_now(),
        server=found.server,
        arguments=ask.settings.as_dict(),
        prompts=found.prompts,
        deployment=place.deployment,
        recipe=place.recipe,
        hosts=place.facts,
        notes=found.notes,
        interrupted=interrupted,
        levels=tuple(view.levels),
    )
    failed = any(level.summary.failed or level.unsent for level in run.levels)
    path = files.save(run, ask.output or Path(files.FOLDER))
    view.end(run, path, 1 if failed else 0)
    if interrupted:
        raise Interrupted("stopped", remedy=f"The levels that were over are in {path}.")
    return 1 if failed else 0


async def _load(ask: Ask, place: Place, key: Secret | None, view: View, found: _Found) -> None:
    """Ask the server what it is, then run the levels; `view` gets them, `found` the rest."""
    chosen = ask.settings
    async with Client(place.base, key=key, stall=chosen.stall) as client:
        found.server = server = await client.server(ask.scope.model)
        planned = _planned(chosen, found)
        calibration = await calibrate(client, server)
        found.prompts = f"tokens {calibration.how}"
        if not calibration.exact:
            found.notes += (f"the prompts' lengths are approximate: {calibration.how}",)
        view.begin(server, chosen, planned)
        load = Load(client, server, chosen, calibration, view, place.sampler)
        await load.run(planned)


def _load_by_vllm(ask: Ask, place: Place, key: Secret | None, view: View, found: _Found) -> None:
    """The same by `vllm bench serve`, which runs in the head's container."""

    async def server() -> Server:
        async with Client(place.base, key=key) as client:
            return await client.server(ask.scope.model)

    found.server = asyncio.run(server())
    planned = _planned(ask.settings, found)
    found.prompts = "by `vllm bench serve`, --dataset-name random"
    found.notes += ("with --vllm the hosts' counters and power are not read",)
    view.begin(found.server, ask.settings, planned)
    by_value = {step.value: step for step in planned}

    def tell(line: str) -> None:
        value = vllm_serve.progress(line)
        if value is not None:
            view.progress(by_value[value], 0, 0)

    output = place.vllm_bench(found.server, ask.settings, planned, tell)
    results = vllm_serve.results(output.stdout)
    for step in planned:
        if step.value not in results:
            raise place.vllm_failed(step, output)
        view.finished(vllm_serve.as_level(results[step.value]))


def _planned(chosen: Settings, found: _Found) -> list[Step]:
    """The levels for which the server has room. Raises InputError if that is none."""
    assert found.server is not None
    planned, left_out = fitting(steps(chosen), found.server.max_model_len)
    found.notes += tuple(left_out)
    if not planned:
        raise InputError(
            f"no level fits: {left_out[0]}",
            remedy="Choose shorter prompts, or serve with a larger context.",
        )
    return planned


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
