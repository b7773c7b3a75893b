"""What the watcher sees of an interval: the hosts, and the engine that is judged. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from spark_cluster.workload.served import DeadRank


@dataclass(frozen=True)
class HostObservation:
    """`available` is a share of MemTotal; `short`: it is less than a Spark needs (facts/memory.py).
    `rails`: interface -> up, unknown ones left out. `grown`: how much the grave error counters
    grew, by `device counter`; `pcie` the ConnectX's uncorrectable errors, by PCI address. `docker`
    is what docker says instead of an answer."""

    boot_id: str = ""
    available: float | None = None
    rails: Mapping[str, bool] = field(default_factory=dict)
    grown: Mapping[str, int] = field(default_factory=dict)
    docker: str = ""
    short: bool = False
    pcie: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RankObservation:
    """`moved`: RDMA carried something in the interval. `compiles`: a compiler runs in its
    container. `gpu` is the GPU's name, `works_above` the watts from which on it computes. None is
    unknown."""

    rank: int
    host: str
    moved: bool | None = None
    watts: float | None = None
    utilization: float | None = None
    compiles: bool = False
    gpu: str = ""
    works_above: float | None = None

    @property
    def computes(self) -> bool | None:
        """Whether the GPU draws what it draws at work; None if that cannot be told."""
        if self.watts is None or self.works_above is None:
            return None
        return self.watts >= self.works_above


@dataclass(frozen=True)
class EngineObservation:
    """`start` names this start of the engine. `healthy`: its server answers; None if nobody asked.
    `running` requests in both readings; `tokens` generated or read between them. `dead`: the
    ranks that are gone. `ended`: one about a server that ended in a container that runs on;
    `was_ready`: it had been ready. `stage` is how far a start-up is, `failure` why it ended.
    `canary`: what one asked token brought: empty if it came, None if none was asked. `supervised`:
    the hosts start ranks that ended again by themselves (`launch --restart-at-boot`). `age`:
    seconds since this start, None if unknown."""

    start: str
    host: str
    healthy: bool | None = False
    running: float | None = None
    tokens: int | None = None
    ranks: tuple[RankObservation, ...] = ()
    dead: tuple[DeadRank, ...] = ()
    ended: str = ""
    was_ready: bool = False
    stage: str = ""
    failure: str = ""
    canary: str | None = None
    supervised: bool = False
    age: float | None = None


@dataclass(frozen=True)
class Observation:
    """One interval, ended `at` (seconds of a clock that never jumps). A host that was not read is
    None, and `lost` may say why. `busy`: somebody holds a lock, so that what the engine does is
    somebody's intention."""

    at: float
    hosts: Mapping[str, HostObservation | None]
    engine: EngineObservation | None = None
    busy: bool = False
    lost: Mapping[str, str] = field(default_factory=dict)
