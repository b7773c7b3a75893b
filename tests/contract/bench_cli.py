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
from spark_cluster.cli import app
from spark_cluster.transport.fake import FakeConnector, FakeHost

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
    for name in ("SPARK_CLUSTER_INVENTORY", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))

    def run(*arguments: str, hosts: Sequence[FakeHost] = ()) -> Said:
        monkeypatch.setattr("spark_cluster.cli.running.connector", lambda: FakeConnector(hosts))
        capsys.readouterr()
        code = app.run(["bench", *arguments])
        captured = capsys.readouterr()
        written = sorted(Path("benchmark_results").glob("*.json"))
        found = files.load(written[-1]) if written else None
        return Said(code, captured.out, captured.err, found)

    return run
