"""Measure a running server: find it, load it, write the results down."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spark_cluster.actions.bench_kept import Finished, Kept
from spark_cluster.actions.bench_place import Place, at_endpoint, key_in, on_cluster
from spark_cluster.actions.operator import Operator
from spark_cluster.bench import files, vllm_serve
from spark_cluster.bench.client import Client
from spark_cluster.bench.load import Load, calibrate
from spark_cluster.bench.plan import Settings, Step, fitting, steps
from spark_cluster.bench.results import Kind, Server
from spark_cluster.core.error import InputError, Interrupted, SparkError, StepFailed
from spark_cluster.core.secret import Secret
from spark_cluster.runner.journal import new_run

#: Seconds without a token after which a request has failed.
_STALL = {"sweep": 600.0, "prefill": 1200.0, "image": 600.0}

_NUMBER = re.compile(r"(\d{1,7})([kK]?)", re.ASCII)


@dataclass(frozen=True)
class Ask:
    """Everything that the command line asked for: how much to load an endpoint, or what runs on the
    inventory's hosts; `api_key_env` names the variable with the API key, `sample` is in seconds."""

    settings: Settings
    recipe: str | None = None
    endpoint: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    inventory: str | None = None
    hosts: Sequence[str] | None = None
    output: Path | None = None
    sample: float = 5.0
    vllm: bool = False
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


def settings(
    kind: Kind,
    levels: tuple[int, ...],
    *,
    salt: str | None = None,
    stall: float | None = None,
    **given: Any,
) -> Settings:
    """The settings of a run. Raises InputError for two ends of a level."""
    if given["requests"] is not None and given["seconds"] is not None:
        raise InputError(
            "--requests and --seconds do not go together",
            remedy="A level ends by one of them.",
        )
    return Settings(kind, levels, salt=salt or "", stall=stall or _STALL[kind], **given)


def measure(ask: Ask, operator: Operator) -> Finished:
    """Run it. Exit code 0 if every request succeeded, 1 if one failed.

    Raises InputError for what does not go together, CheckFailed if nothing runs, Interrupted and
    StepFailed with the file of the levels that were over.
    """
    if ask.vllm and ask.settings.seconds is not None:
        raise InputError(
            "`vllm bench serve` counts requests, not seconds",
            remedy="Give --requests with --vllm.",
        )
    ask = replace(ask, settings=replace(ask.settings, salt=ask.settings.salt or ask.run))
    folder = ask.output or Path(files.FOLDER)
    if ask.endpoint is not None:
        _refuse_endpoint(ask)
    files.prove(folder)
    if ask.endpoint is not None:
        return _measure(ask, at_endpoint(ask.endpoint), folder, operator)
    with on_cluster(ask.recipe, ask.inventory, ask.hosts, ask.sample, operator) as place:
        return _measure(ask, place, folder, operator)


def _refuse_endpoint(ask: Ask) -> None:
    if ask.recipe is not None:
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


def _measure(ask: Ask, place: Place, folder: Path, operator: Operator) -> Finished:
    key = key_in(ask.api_key_env)
    kept = Kept(ask.run, ask.settings, place, operator.listener, folder, ask.vllm, place.notes)
    interrupted = False
    try:
        if ask.vllm:
            _load_by_vllm(ask, place, key, kept)
        else:
            asyncio.run(_load(ask, place, key, kept))
    except KeyboardInterrupt:
        interrupted = True
        place.abort()
    except SparkError as error:
        if kept.levels:
            kept.end(interrupted=not isinstance(error, StepFailed), code=error.exit_code)
            error.remedy += f" The levels that are over are in {kept.path}."
        raise
    finally:
        place.stop()
    if not interrupted:
        return kept.end()
    if not kept.levels:
        raise Interrupted(
            "stopped before the first level was over",
            remedy="Nothing was written. --requests or --levels make a run shorter.",
        )
    kept.end(interrupted=True, code=Interrupted.exit_code)
    raise Interrupted("stopped", remedy=f"The levels that were over are in {kept.path}.")


async def _load(ask: Ask, place: Place, key: Secret | None, kept: Kept) -> None:
    """Ask the server what it is, then run the levels."""
    chosen = ask.settings
    async with Client(place.base, key=key, stall=chosen.stall) as client:
        server = await client.server(ask.model)
        planned = _planned(chosen, server, kept)
        calibration = await calibrate(client, server)
        kept.prompts = f"tokens {calibration.how}"
        if not calibration.exact:
            kept.notes += (f"the prompts' lengths are approximate: {calibration.how}",)
        kept.begin(server, planned)
        load = Load(client, server, chosen, calibration, kept, place.sampler)
        await load.run(planned)


def _load_by_vllm(ask: Ask, place: Place, key: Secret | None, kept: Kept) -> None:
    """The same by `vllm bench serve`, which runs in the head's container."""

    async def ask_server() -> Server:
        async with Client(place.base, key=key) as client:
            return await client.server(ask.model)

    server = asyncio.run(ask_server())
    planned = _planned(ask.settings, server, kept)
    kept.prompts = "by `vllm bench serve`, --dataset-name random"
    kept.notes += ("with --vllm the hosts' counters and power are not read",)
    kept.begin(server, planned)
    left = {step.value: step for step in planned}
    reader = vllm_serve.Reader()

    def tell(line: str) -> None:
        data = reader.read(line)
        step = left.get(reader.level or 0)
        if step is not None and data is not None:
            kept.finished(vllm_serve.level_of(step, data))
            del left[step.value]
        elif step is not None:
            kept.progress(step, 0, 0)

    output = place.vllm_bench(server, ask.settings, planned, tell)
    if left:
        raise place.vllm_failed(left.values(), output)


def _planned(chosen: Settings, server: Server, kept: Kept) -> list[Step]:
    """The levels for which the server has room. Raises InputError if that is none."""
    planned, left_out = fitting(steps(chosen), server.max_model_len)
    kept.notes += tuple(left_out)
    if not planned:
        raise InputError(
            f"no level fits: {left_out[0]}",
            remedy="Choose shorter prompts, or serve with a larger context.",
        )
    return planned
