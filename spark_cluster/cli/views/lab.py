"""The lab's nodes and faults, for a person."""

from __future__ import annotations

import time
from collections.abc import Iterator

from spark_cluster.lab.reports import LabFaults, LabStatus


def nodes(report: LabStatus) -> Iterator[str]:
    """A line a node, and how nodes are run."""
    if not report.nodes:
        yield "The lab is not up. Start it: spark-cluster lab up"
        return
    yield "node     state  ssh              api              accel  pid      since"
    for node in report.nodes:
        since = time.strftime("%H:%M:%S", time.localtime(node.since))
        yield (
            f"{node.name:<8} {'up' if node.up else 'dead':<6} "
            f"{f'127.0.0.1:{node.ssh_port}':<16} {f'127.0.0.1:{node.api_port}':<16} "
            f"{node.accel:<6} {node.pid:<8} {since}"
        )
    yield f"accel: {report.nodes[0].why}"


def faults(report: LabFaults) -> Iterator[str]:
    """A line a fault."""
    for fault in report.faults:
        yield f"{fault.name:<14} {fault.does}; --undo {fault.undo}"
