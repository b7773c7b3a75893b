"""The journal: the events of a run, a line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_cluster.core.event import Progress
from spark_cluster.runner.journal import Journal, new_run

from .cases import write
from .runs import apply
from .world import sparks, stage, swapped


def test_the_journal_holds_the_events_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    journal = Journal(new_run(), "bootstrap")
    on = stage([swapped(), *sparks("spark-3")])
    apply(on)
    for event in on.events:
        journal(event)
    journal.close()
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert [line["kind"] for line in lines] == [
        event.kind for event in on.events if not isinstance(event, Progress)
    ]
    assert all(line["time"].endswith("+00:00") for line in lines)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_journal_that_cannot_be_written_says_so_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "spark-cluster", "a file, not a folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    journal = Journal(new_run(), "bootstrap")
    assert journal.problem is not None
    assert "no journal" in journal.problem
    for event in stage(sparks()).events:
        journal(event)
    journal.close()
