"""The journal read again: past runs, torn lines, and the story of one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_cluster.core.error import InputError, Unreachable
from spark_cluster.core.event import (
    Guarded,
    HostLost,
    Note,
    RunFailed,
    RunFinished,
    RunStarted,
    StepFinished,
)
from spark_cluster.runner.history import past_run, past_runs, story
from spark_cluster.runner.journal import Journal
from tests.command_line import Cli

from .world import INVENTORY, Spark, down

ONE, TWO = "20261121-031500-9f3a", "20261121-041500-1234"
DOWN = Unreachable("spark-3: no route", host="spark-3", remedy="Switch it on.")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def write(run: str, verb: str, *events: object) -> Path:
    book = Journal(run, verb)
    book(RunStarted(verb, run, ("spark-2", "spark-3"), "inventory/sparks.yaml", "a-recipe"))
    for event in events:
        book(event)  # type: ignore[arg-type]
    book.close()
    return book.path


def done(host: str, status: str, *details: str) -> StepFinished:
    return StepFinished(host, "swap", "Swap", status, "1 changed", details, 1.0)


def test_there_is_no_run_yet() -> None:
    assert past_runs() == []


def test_runs_are_the_newest_first_and_tell_how_they_ended() -> None:
    write(ONE, "launch", RunFinished("launch", ONE, 4, {"ok": 3, "failed": 1}, 7.5))
    write(TWO, "undo network", RunFailed(DOWN))
    newest, oldest = past_runs()
    assert (newest.run, newest.verb, newest.exit_code, newest.outcome) == (
        TWO,
        "undo network",
        3,
        "exit 3",
    )
    assert (oldest.exit_code, oldest.seconds, oldest.counts) == (4, 7.5, {"ok": 3, "failed": 1})
    assert oldest.hosts == ("spark-2", "spark-3")


def test_a_run_that_was_killed_broke_off_and_its_torn_line_is_left_out() -> None:
    path = write(ONE, "bootstrap", done("spark-2", "changed", "swap: on -> off"))
    with path.open("a") as file:
        file.write('{"time": "2026-11-21T03:15:01+00:00", "kind": "step_fi')
    (past,) = past_runs()
    assert (past.exit_code, past.outcome) == (None, "broke off")
    assert len(past.entries) == 2


@pytest.mark.parametrize("text", ["", "nonsense\n[1]\n{}\n"])
def test_a_journal_that_says_nothing(text: str) -> None:
    path = write(ONE, "undo network")
    path.write_text(text)
    (past,) = past_runs()
    assert (past.run, past.verb, past.hosts) == (ONE, "undo network", ())


def test_a_journal_that_cannot_be_read_is_left_out_and_told(
    cli: Cli, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    folder = write(ONE, "launch").parent / f"{TWO}-bench.jsonl"
    folder.mkdir()
    said = cli("history")
    assert said.code == 0
    assert ONE in said.out
    assert said.err == f"left out: {folder}: Is a directory\n"
    assert cli("history", "last").out.startswith("launch on")


def test_as_many_lines_of_the_hosts_as_are_wanted(cli: Cli) -> None:
    host = Spark("spark-2")
    host.texts["host-journal"] = "".join(
        f"2026-11-21T03:15:00+0000 spark-2 spark-cluster[7]: line {number}\n"
        for number in range(300)
    )
    words = ("history", "--nodes", "-i", INVENTORY, "--hosts", "spark-2")
    assert "line 0\n" in cli(*words, "-n", "500", hosts=[host]).out
    assert "journalctl" in host.runs[-1] and " -n 500 " in host.runs[-1]
    assert "line 279\n" not in cli(*words, hosts=[host]).out
    assert " -n 200 " in host.runs[-1]  # a run is looked for in more than is shown


def test_hosts_keep_their_order_also_when_one_is_away(cli: Cli) -> None:
    hosts = [Spark("spark-1"), down("spark-2"), Spark("spark-3")]
    said = cli("history", "--nodes", "-i", INVENTORY, hosts=hosts)
    assert said.code == 3
    headings = [line for line in said.out.splitlines() if not line.startswith(" ")]
    assert headings == ["spark-1", "spark-2", "spark-3"]


def test_a_run_by_its_beginning_or_as_the_last() -> None:
    write(ONE, "launch")
    write(TWO, "launch")
    assert past_run(TWO[:12]).run == TWO
    assert past_run("last").run == TWO
    with pytest.raises(InputError, match="2 runs begin with 2026"):
        past_run("2026")
    with pytest.raises(InputError, match="there is no run x"):
        past_run("x")


def test_the_story_names_what_happened_and_leaves_out_what_was_in_order() -> None:
    write(
        ONE,
        "bootstrap",
        done("spark-2", "ok"),
        Guarded("spark-2", "armed", "for 180 s"),
        done("spark-2", "changed", "swap: on -> off"),
        HostLost("spark-3", DOWN),
        Note("took the lock over"),
        RunFinished("bootstrap", ONE, 3, {"changed": 1}, 2.0),
    )
    told = [line[1:] for line in story(past_run("last"))]
    assert told == [
        ("spark-2", "guard", "armed: for 180 s"),
        ("spark-2", "changed", "swap: swap: on -> off"),
        ("spark-3", "lost", "spark-3: no route"),
        ("", "note", "took the lock over"),
        ("", "end", "exit 3; 1 changed"),
    ]


def test_entries_are_as_they_were_written() -> None:
    path = write(ONE, "launch")
    (past,) = past_runs()
    assert [json.loads(line) for line in path.read_text().splitlines()] == list(past.entries)
