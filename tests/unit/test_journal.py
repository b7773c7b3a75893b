"""The journal: the events of a run, a line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_cluster.core.event import Event, Listener, Note, Progress
from spark_cluster.runner.bus import Bus
from spark_cluster.runner.journal import Journal, folder, new_run
from tests.command_line import Cli

from .cases import write
from .runs import apply
from .world import INVENTORY, Spark, sparks, stage, swapped, torn


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


def on_a_full_disk(run: str, verb: str, tell: Listener | None = None) -> Journal:
    """A journal whose file takes no byte: the kernel's own ENOSPC."""
    folder().mkdir(parents=True)
    (folder() / f"{run}-{verb}.jsonl").symlink_to("/dev/full")
    return Journal(run, verb, tell)


def test_a_disk_that_is_full_is_told_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    heard: list[Event] = []
    journal = on_a_full_disk(new_run(), "bootstrap", heard.append)
    assert journal.problem is None
    told = stage(sparks()).events
    bus = Bus([heard.append, journal])
    for event in told:
        bus(event)
    journal.close()
    notes = [event.message for event in heard if isinstance(event, Note)]
    assert notes == [journal.problem]
    assert "No space left on device" in notes[0]
    assert [event for event in heard if not isinstance(event, Note)] == told


def test_a_teardown_with_a_full_disk_comes_to_its_end(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_cluster.actions.run.Journal", on_a_full_disk)
    hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    said = cli("teardown", "--force", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0, said.err
    assert said.out.count("the journal ends here") == 1
    assert [host.texts["containers"] for host in hosts] == ["", "", ""]
