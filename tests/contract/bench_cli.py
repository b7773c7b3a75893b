"""`spark-cluster bench` as the tests call it: in an empty folder, against servers of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.bench import files
from spark_cluster.bench.results import Run
from tests.command_line import command_line
from tests.fake_transport import FakeHost

from .bench_server import BenchServer


@dataclass(frozen=True)
class Said:
    """What a command line printed, its exit code, and the results that it left."""

    code: int
    out: str
    err: str
    run: Run | None

    @property
    def result(self) -> Run:
        assert self.run is not None, self.out + self.err
        return self.run

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


#: Runs the words after `bench`; `hosts` answer over SSH.
Bench = Callable[..., Said]

#: Starts a server that behaves as told (bench_server.Behaviour).
Start = Callable[..., BenchServer]


def command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Bench:
    """`spark-cluster bench …` in `folder`, with an empty home."""
    monkeypatch.chdir(folder)
    cli = command_line(folder / "home", monkeypatch, capsys)

    def run(*arguments: str, hosts: Sequence[FakeHost] = ()) -> Said:
        results = Path("benchmark_results")
        before = set(results.glob("*.json"))
        said = cli("bench", *arguments, hosts=hosts)
        written = sorted(set(results.glob("*.json")) - before)
        found = files.load(written[-1]) if written else None
        return Said(*said, found)

    return run
