"""Memory: CPU and GPU share it, and a Spark that runs out freezes without an OOM kill."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.core.units import human_bytes
from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import each_host
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.memory_pressure import GUARDS, MEMORY_PRESSURE
from spark_cluster.inventory.models import Host

#: Shares of MemTotal. Below a tenth a launch with the usual 0.85 utilisation is at its edge; at
#: 3 percent (3.6 GiB of a 119.7 GiB Spark) the host is about to freeze, and so it is with less than
#: 4 GiB on a Spark of whatever size (facts/memory.py).
_LITTLE = 0.10
_ALARM = 0.03

#: Page cache that drop_caches gives back, as a share of MemTotal: above it, what the CUDA driver
#: calls free memory is far from what is available.
_CACHE = 0.25


def swap(_: Host, facts: Facts) -> Iterator[Finding]:
    active = facts[SWAP].active
    if active:
        what = ", ".join(f"{name} ({human_bytes(size)})" for name, size in active.items())
        used = facts[SWAP].used
        held = f", {human_bytes(used)} of it in use" if used else ""
        fix = "with nothing served, swapoff -a" if used else "swapoff -a"
        yield find("HOST002", f"swap is on: {what}{held}", fix=fix)


def available(_: Host, facts: Facts) -> Iterator[Finding]:
    memory = facts[MEMORY]
    if not memory.total or memory.available >= _LITTLE * memory.total:
        return
    alarm = memory.short or memory.available < _ALARM * memory.total
    severity = Severity.CRITICAL if alarm else None
    share = 100 * memory.available / memory.total
    yield find(
        "HOST011",
        f"{human_bytes(memory.available)} of {human_bytes(memory.total)} available "
        f"({share:.0f} percent); held by {_holders(facts)}",
        severity=severity,
    )


def _holders(facts: Facts) -> str:
    load = facts[MEMORY_PRESSURE]
    held = [
        (
            process.rss,
            f"{process.name} (pid {process.pid}, {process.user}) {human_bytes(process.rss)}",
        )
        for process in load.processes
    ]
    if load.shared:
        held.append((load.shared, f"tmpfs and shared memory {human_bytes(load.shared)}"))
    largest = sorted(held, reverse=True)[:3]
    return ", ".join(text for _, text in largest) or "processes that could not be read"


def page_cache(_: Host, facts: Facts) -> Iterator[Finding]:
    memory = facts[MEMORY]
    if memory.total and memory.droppable > _CACHE * memory.total:
        yield find(
            "HOST012",
            f"the page cache holds {human_bytes(memory.droppable)} of {human_bytes(memory.total)}",
            fix="`spark-cluster launch` drops it; by hand: sync; echo 1 > /proc/sys/vm/drop_caches",
        )


def killed(_: Host, facts: Facts) -> Iterator[Finding]:
    load = facts[MEMORY_PRESSURE]
    if load.oom_kills:
        last = f"; the last: {load.victims[-1][:160]}" if load.victims else ""
        yield find(
            "HOST021",
            f"the kernel ended processes for want of memory, {load.oom_kills} since boot{last}",
        )


def guard(_: Host, facts: Facts) -> Iterator[Finding]:
    units = facts[MEMORY_PRESSURE].units
    if units and not any(state == "active" for state in units.values()):
        yield find("HOST020", f"none of {', '.join(GUARDS)} is active")


RULES = each_host(swap, available, page_cache, killed, guard)
