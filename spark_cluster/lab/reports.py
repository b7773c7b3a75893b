"""What the lab's verbs print with --json."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.event import Event
from spark_cluster.lab.manage import NodeStatus


@dataclass(frozen=True)
class LabStatus(Event):
    """The lab's nodes; none if it is not up."""

    kind: str = field(default="lab_status", init=False)
    nodes: tuple[NodeStatus, ...]


@dataclass(frozen=True)
class FaultRow:
    """A fault that the lab can cause: what it does, and what undoes it."""

    name: str
    does: str
    undo: str


@dataclass(frozen=True)
class LabFaults(Event):
    """The faults that the lab can cause."""

    kind: str = field(default="lab_faults", init=False)
    faults: tuple[FaultRow, ...]
