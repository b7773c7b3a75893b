"""What actions tell beside the events of a run (core/event.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spark_cluster.core.event import Event
from spark_cluster.rdma.verdict import Verdict


@dataclass(frozen=True)
class Judged(Event):
    """A verdict, with what it is about (workload/served.py) and what else runs unjudged."""

    kind: str = field(default="judged", init=False)
    verdict: Verdict
    served: dict[str, Any]
    not_judged: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Relaunching(Event):
    """A relaunch that can succeed; `settings_differ` from those that the containers have now."""

    kind: str = field(default="relaunch", init=False)
    recipe: str
    hosts: tuple[str, ...]
    settings_differ: bool


@dataclass(frozen=True)
class Candidate:
    """Hosts that might carry a recipe, head first, and what they lack for it."""

    hosts: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class FailingOver(Event):
    """Where a failover will serve, and what it takes down for that. `choices_known`: what was
    chosen at the last launch could be read from a host of its group."""

    kind: str = field(default="failover", init=False)
    recipe: str
    without: tuple[str, ...]
    hosts: tuple[str, ...]
    takes_down: tuple[str, ...]
    choices_known: bool
    rejected: tuple[Candidate, ...]


@dataclass(frozen=True)
class NotLaunched(Event):
    """What a teardown left undone, so that no launch follows it (`goes_on` false), or what of it
    does not matter to the launch that follows."""

    kind: str = field(default="after_teardown", init=False)
    recipe: str
    hosts: tuple[str, ...]
    goes_on: bool


@dataclass(frozen=True)
class Resuming(Event):
    """`teardown --resume`: the hosts that earlier teardowns left open, `rest` those of them that
    were not asked for."""

    kind: str = field(default="resume", init=False)
    hosts: tuple[str, ...]
    inventory: str
    rest: tuple[str, ...] = ()


@dataclass(frozen=True)
class Waiting(Event):
    """Hosts that are away and waited for, at most so many minutes."""

    kind: str = field(default="waiting", init=False)
    hosts: tuple[str, ...]
    minutes: float


@dataclass(frozen=True)
class Collecting(Event):
    """Evidence is collected from these hosts, from all at once."""

    kind: str = field(default="collecting", init=False)
    hosts: tuple[str, ...]
