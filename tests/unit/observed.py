"""Cases for the watcher's detector: lists of observations, fifteen seconds apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from spark_cluster.watch.detector import Condition, State, judge
from spark_cluster.watch.observation import (
    EngineObservation,
    HostObservation,
    Observation,
    RankObservation,
)
from spark_cluster.workload.served import DeadRank

STEP = 15.0

HOST = HostObservation("boot-1", 0.12, {"enp1s0f1np1": True})


def gone(host: str, rank: int) -> DeadRank:
    """What it says of itself is nobody's business here."""
    return DeadRank(host, rank, "gone")


def rank(number: int, **values: object) -> RankObservation:
    given = {"moved": False, "watts": 28.0, "utilization": 96.0, "gpu": "NVIDIA GB10", **values}
    return RankObservation(number, f"spark-{number + 2}", **given)  # type: ignore[arg-type]


#: Requests run, no token comes, and both ranks wait for each other.
STUCK = EngineObservation(
    "start-1", "spark-2", healthy=True, running=2.0, tokens=0, ranks=(rank(0), rank(1))
)
WORKS = replace(
    STUCK, tokens=512, ranks=(rank(0, moved=True, watts=60.0), rank(1, moved=True, watts=85.0))
)
IDLE = replace(STUCK, running=0.0)
STARTING = EngineObservation(
    "start-1",
    "spark-2",
    stage="profiling the vision encoder",
    ranks=(rank(0, watts=30.0), rank(1, watts=30.0)),
)


def saw(
    engine: EngineObservation | None = None, *, busy: bool = False, **hosts: HostObservation | None
) -> Callable[[float], Observation]:
    seen = {"spark-2": HOST, "spark-3": HOST}
    seen |= {name.replace("_", "-"): host for name, host in hosts.items()}  # type: ignore[misc]
    return lambda at: Observation(at, seen, engine, busy)


Phases = list[tuple[float, Callable[[float], Observation]]]


def told(phases: Phases) -> tuple[Condition, ...]:
    """What holds after the phases, each so many seconds long."""
    state, at = State(), 0.0
    found: tuple[Condition, ...] = ()
    for seconds, make in phases:
        for _ in range(max(1, round(seconds / STEP))):
            at += STEP
            state, found = judge(state, make(at))
    return found


HOUR = 3600.0
OLD = (HOUR + STEP, saw(WORKS))  # the engine has long been warm


@dataclass(frozen=True)
class Case:
    """What shall hold after the phases: kind, host, severity."""

    name: str
    phases: Phases
    expected: list[tuple[str, str, str]]

    def found(self) -> list[tuple[str, str, str]]:
        return [(each.kind, each.host, each.severity) for each in told(self.phases)]
