"""A step: facts and a wanted state in, the difference and the commands that close it out.

A step is data and one pure function, `assess`. The runner reads the facts, calls `assess`, runs the
commands of the changes, reads the facts again and calls `assess` once more: only when that second
assessment shows no difference is the step `changed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from spark_cluster.core.secret import Secret

if TYPE_CHECKING:
    from pydantic import BaseModel

ViewT = TypeVar("ViewT")
ParamsT = TypeVar("ParamsT", bound="BaseModel")


@dataclass(frozen=True)
class Change:
    """One difference and what closes it.

    `commands` is POSIX sh, run as root under `set -eu`. `before` and `after` are what a person
    reads; `diff` may hold a longer text, one line each, already marked with + and -. `secrets` are
    shell variables of `commands`: the runner sets them, no plan shows them.
    """

    what: str
    before: str
    after: str
    commands: str
    diff: tuple[str, ...] = ()
    secrets: Mapping[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """A state that this step cannot or must not mend; `code` is explained by core/diagnoses.yaml.
    `unknown`: it is not the state that is bad, nobody could find it out."""

    code: str
    what: str
    remedy: str
    unknown: bool = False


@dataclass(frozen=True)
class Assessment:
    """The difference between what is and what is wanted, on one host.

    Nothing in `changes`, `problems` and `waiting`: the host is as wanted. `skipped` says why the
    step does not apply. `waiting` says what a waiting step still waits for; while there is
    anything in it, `problems` are only what will be said when time runs out; an empty text waits
    silently. `notes` are told, not
    judged.
    """

    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()
    waiting: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: str | None = None

    @property
    def settled(self) -> bool:
        return not (self.changes or self.problems or self.waiting)


def skip(reason: str) -> Assessment:
    """The step does not apply here."""
    return Assessment(skipped=reason)


def found(*problems: Problem, notes: tuple[str, ...] = ()) -> Assessment:
    """A check's outcome: the problems, or none."""
    return Assessment(problems=problems, notes=notes)


@dataclass(frozen=True)
class Traffic:
    """Traffic made between two readings: a script for one host, its output kept as `output`."""

    host: str
    script: str
    timeout: float


@dataclass(frozen=True)
class Step(Generic[ViewT, ParamsT]):
    """A named, ordered piece of work.

    title      what is done or checked, as `changed` and `ok` in front of it read
    titled     the title where it depends on the parameters
    formerly   names that it had in earlier releases: playbooks may still use them
    reads      facts that `assess` looks at
    depends    facts that its problems depend on, if those are not all that it reads
    affects    facts that its changes may alter beyond its own: read again before the next step
    guarded    seconds without our confirmation after which the network guard takes its changes
               back (runner/guard.py); None: they do not go through the guard
    keeps_peers  a guarded change is taken back if a peer no longer answers
    wait       seconds to keep reading until `waiting` is empty; None: it does not wait
    traffic    traffic to make between a first and a second reading (verify-rdma)
    timeout    seconds that the commands of its changes may take on a host
    """

    name: str
    title: str
    params: type[ParamsT]
    reads: tuple[str, ...]
    assess: Callable[[ViewT, ParamsT], Assessment]
    depends: tuple[str, ...] = ()
    affects: tuple[str, ...] = ()
    guarded: Callable[[ParamsT], int] | None = None
    keeps_peers: bool = True
    wait: Callable[[ParamsT], float] | None = None
    traffic: Callable[[ViewT, ParamsT], Traffic | None] | None = None
    timeout: float = 120.0
    titled: Callable[[ParamsT], str] | None = None
    formerly: tuple[str, ...] = ()


#: A step of a registry, whose parameters' type is known to itself alone. `PlannedStep` joins it
#: with parameters of that type, so that nobody else needs it.
AnyStep: TypeAlias = Step[Any, Any]
