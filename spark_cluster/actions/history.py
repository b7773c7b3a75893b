"""What was done, by the journals of this machine and of the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypedDict

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import read_hosts
from spark_cluster.core.error import SparkError
from spark_cluster.core.event import Event
from spark_cluster.facts.host_journal import LINES, host_journal
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.history import Past, past_run, past_runs


class RunJson(TypedDict):
    """A past run: when it `started` (ISO 8601), how long it took, how it ended, and the file of its
    journal."""

    run: str
    verb: str
    started: str | None
    hosts: list[str]
    recipe: str | None
    exit_code: int | None
    seconds: float | None
    counts: dict[str, int]
    journal: str


class RunsJson(TypedDict):
    """The newest first."""

    runs: list[RunJson]


class EntriesJson(TypedDict):
    """The events of its journal, each with its `time`."""

    entries: list[dict[str, Any]]


@dataclass(frozen=True)
class Runs(Event):
    """Past runs of this user on this machine, the newest first; in JSON each as runner/history.py
    gives it."""

    kind: str = field(default="runs", init=False)
    json_of: ClassVar[tuple[type, ...]] = (RunsJson,)
    runs: tuple[Past, ...]

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "runs": [past.as_dict() for past in self.runs]}


@dataclass(frozen=True)
class OneRun(Event):
    """A past run with the entries of its journal."""

    kind: str = field(default="run", init=False)
    json_of: ClassVar[tuple[type, ...]] = (RunJson, EntriesJson)
    past: Past

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.past.as_dict(), "entries": list(self.past.entries)}


@dataclass(frozen=True)
class JournalLine:
    """What a host wrote down, by its own clock."""

    time: str
    text: str


@dataclass(frozen=True)
class HostJournals(Event):
    """The hosts' own records, whoever ran the command. Exit code 3 if one is `unknown`."""

    kind: str = field(default="host_journals", init=False)
    hosts: dict[str, tuple[JournalLine, ...]]
    unknown: tuple[str, ...]
    errors: dict[str, SparkError]

    @property
    def exit_code(self) -> int:
        return 3 if self.unknown else 0


def runs(limit: int, tell: Callable[[str], None]) -> Runs:
    """The newest `limit` runs; `tell` hears of journals that cannot be read."""
    return Runs(tuple(past_runs(tell=tell)[:limit]))


def run(name: str, tell: Callable[[str], None]) -> OneRun:
    """The run of this name, or the `last`. Raises InputError for one that is not there."""
    return OneRun(past_run(name, tell=tell))


def of_hosts(
    inventory: Inventory,
    names: Sequence[str],
    operator: Operator,
    *,
    limit: int,
    only: str | None = None,
) -> HostJournals:
    """At most `limit` lines of each host, of the run `only` if one is named. One exec a host."""
    fact = host_journal(max(limit, LINES))
    found = read_hosts(inventory, names, (fact,), operator)
    errors = {name: facts for name, facts in found.items() if isinstance(facts, SparkError)}
    lines = {
        name: tuple(
            [JournalLine(*line) for line in facts[fact] if only is None or only in line[1]][-limit:]
        )
        for name, facts in found.items()
        if not isinstance(facts, SparkError)
    }
    return HostJournals(lines, tuple(errors), errors)
