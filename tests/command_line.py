"""A command line, run in this process over fake hosts: how a test calls it and what it said."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from spark_cluster.cli import app
from spark_cluster.transport.protocol import Connector
from tests.fake_transport import FakeConnector, FakeHost


class Said(NamedTuple):
    """What a command line printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """--json: every line is an object."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def data(self) -> dict[str, Any]:
        """--json: what the run ended with."""
        found: dict[str, Any] = self.lines[-1]["data"]
        return found


#: Runs the words of a command line; `hosts` answer over SSH, or whatever `connector` connects to.
Cli = Callable[..., Said]


def command_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """`spark-cluster …` with this home folder and none of the user's variables."""
    for name in ("SPARK_CLUSTER_INVENTORY", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))

    def run(
        *arguments: str, hosts: Sequence[FakeHost] = (), connector: Connector | None = None
    ) -> Said:
        way = connector or FakeConnector(hosts)
        monkeypatch.setattr("spark_cluster.actions.operator.connector", lambda: way)
        capsys.readouterr()
        code = app.run(list(arguments))
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


# Errors of what the user wrote


def assert_told(said: Said, *parts: str) -> None:
    """One error, in the one form, on standard error."""
    assert said.code == 2
    assert said.out == ""
    first, *rest = said.err.splitlines()
    assert first.startswith("error: ")
    assert any(line.startswith("  next: ") for line in rest)
    for part in parts:
        assert part in said.err
    assert "Traceback" not in said.err
