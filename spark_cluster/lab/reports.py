"""What `lab status` and `lab fault list` say."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.event import Event
from spark_cluster.lab import fault, manage
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


def status() -> LabStatus:
    """The lab as it is now."""
    return LabStatus(tuple(manage.status()))


def faults() -> LabFaults:
    """All of lab/fault.py."""
    return LabFaults(tuple(FaultRow(one.name, one.does, one.undone) for one in fault.FAULTS))
