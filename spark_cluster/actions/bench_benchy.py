"""`llama-benchy` run against a server, and its results read beside ours."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from spark_cluster.actions.bench_place import Place, at_endpoint, on_cluster
from spark_cluster.actions.operator import Operator
from spark_cluster.bench import files, llama_benchy
from spark_cluster.bench.client import Client
from spark_cluster.bench.llama_benchy import INSTALL, PROGRAM, BenchyRow, BenchySettings
from spark_cluster.bench.results import Run, Server
from spark_cluster.core.error import InputError, Interrupted, StepFailed
from spark_cluster.core.event import Event, Listener
from spark_cluster.core.secret import Secret
from spark_cluster.runner.journal import new_run

#: Seconds that it may take to save what it has when it is told to end.
_SAVING = 20.0


@dataclass(frozen=True)
class BenchyAsk:
    """Where and what; `beside` is a file of ours with results to show next to its own."""

    settings: BenchySettings
    recipe: str | None = None
    endpoint: str | None = None
    inventory: str | None = None
    hosts: Sequence[str] | None = None
    model: str | None = None
    api_key_env: str | None = None
    output: Path | None = None
    beside: Path | None = None
    run: str = field(default_factory=new_run)


@dataclass(frozen=True)
class BenchyStarted(Event):
    """It runs against this model now."""

    kind: str = field(default="llama_benchy_started", init=False)
    endpoint: str
    model: str
    program: str


@dataclass(frozen=True)
class BenchySaid(Event):
    """A line that it printed."""

    kind: str = field(default="llama_benchy_line", init=False)
    passing: ClassVar[bool] = True
    line: str


@dataclass(frozen=True)
class BenchyEnded(Event):
    """Its results, each beside what `bench` measured alike; `file` is its own. Exit code 1 if it
    failed and kept what it had."""

    kind: str = field(default="llama_benchy", init=False)
    endpoint: str
    model: str
    version: str
    file: str
    beside: str | None
    rows: tuple[BenchyRow, ...]
    exit_code: int


def measure(ask: BenchyAsk, operator: Operator) -> BenchyEnded:
    """Run it and read what it wrote.

    Raises InputError for what does not go together, StepFailed if it is not installed or left no
    result, Interrupted with the file that it saved, and what asking the server raises
    (bench/client.py).
    """
    program = _program()
    ours = files.load(ask.beside) if ask.beside is not None else None
    folder = ask.output or Path(files.FOLDER)
    files.prove(folder)
    if ask.endpoint is not None:
        if ask.recipe is not None:
            raise InputError(
                "a recipe and --endpoint do not go together",
                remedy="A recipe is looked for on the inventory's hosts; --endpoint needs none.",
            )
        return _measure(ask, at_endpoint(ask.endpoint), program, folder, ours, operator)
    with on_cluster(ask.recipe, ask.inventory, ask.hosts, 600.0, operator) as place:
        place.stop()
        return _measure(ask, place, program, folder, ours, operator)


def _program() -> str:
    found = shutil.which(PROGRAM)
    if found is None:
        raise StepFailed(f"{PROGRAM} is not installed", remedy=f"Install it: {INSTALL}.")
    return found


def _measure(
    ask: BenchyAsk,
    place: Place,
    program: str,
    folder: Path,
    ours: Run | None,
    operator: Operator,
) -> BenchyEnded:
    key = os.environ.get(ask.api_key_env, "") if ask.api_key_env else ""
    if ask.api_key_env and not key:
        raise InputError(
            f"--api-key-env {ask.api_key_env}: the variable is not set",
            remedy=f"export {ask.api_key_env}=…",
        )
    server = asyncio.run(_server(place.base, key, ask.model))
    hub = place.served.head.label("hub-model") if place.served is not None else ""
    path = folder / f"{ask.run}-{PROGRAM}.json"
    words = llama_benchy.command(
        program, place.base, hub or server.root or server.model, server.model, key, ask.settings,
        str(path),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    operator.listener(BenchyStarted(place.base, server.model, program))
    try:
        status, last = _run(words, operator.listener)
    except KeyboardInterrupt:
        kept = f"What it had is in {path}." if path.exists() else "It saved nothing."
        raise Interrupted("stopped", remedy=kept) from None
    if not path.exists():
        raise StepFailed(
            f"{PROGRAM} ended with {status} and left no result",
            stderr="\n".join(last) or None,
            remedy="Its last words stand above; words for its own command line go by --pass.",
        )
    ended = _read(path, place.base, server.model, ours, ask.beside)
    ended = replace(ended, exit_code=int(status != 0 or not ended.rows))
    operator.listener(ended)
    return ended


async def _server(base: str, key: str, model: str | None) -> Server:
    async with Client(base, key=Secret(key) if key else None) as client:
        return await client.server(model)


def _run(words: list[str], listener: Listener) -> tuple[int, list[str]]:
    """Its exit status and last words. Told to end, it gets the time to save what it has."""
    last: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.strip():
                    last.append(line.rstrip())
                    listener(BenchySaid(line.rstrip()))
            return process.wait(), list(last)
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_SAVING)
    except subprocess.TimeoutExpired:
        process.kill()


def _read(path: Path, base: str, model: str, ours: Run | None, beside: Path | None) -> BenchyEnded:
    text = path.read_text(encoding="utf-8", errors="replace")
    found = llama_benchy.rows(text, str(path))
    if ours is not None:
        found = tuple(replace(row, ours=llama_benchy.beside(row, ours)) for row in found)
    version = llama_benchy.version(text)
    return BenchyEnded(base, model, version, str(path), str(beside) if beside else None, found, 0)
