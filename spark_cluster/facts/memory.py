"""Memory and swap, in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.rdma.counters import number


@dataclass(frozen=True)
class MemoryFact:
    """Bytes. `droppable` is the page cache that drop_caches can give back: unmapped file pages."""

    total: int = 0
    available: int = 0
    droppable: int = 0


def parse_memory(text: str) -> MemoryFact:
    """/proc/meminfo counts in KiB (proc_meminfo(5))."""
    values: dict[str, int] = {}
    for line in text.split("\n"):
        words = line.replace(":", " ").split()
        kibibytes = number(words[1]) if len(words) >= 2 else None
        if kibibytes is not None:
            values[words[0]] = kibibytes * 1024
    get = values.get
    cache = get("Cached", 0) + get("Buffers", 0) - get("Shmem", 0) - get("Mapped", 0)
    return MemoryFact(get("MemTotal", 0), get("MemAvailable", 0), max(cache, 0))


MEMORY = Fact("memory", lambda _: "cat /proc/meminfo", parse_memory)


@dataclass(frozen=True)
class SwapFact:
    """`active` maps each device or file to its size in bytes; `boot` are fstab's swap lines;
    `read` is False when /proc/swaps gave nothing, not even its heading."""

    active: dict[str, int]
    boot: tuple[str, ...] = ()
    read: bool = True


def _swap_script(_: ProbeContext) -> str:
    return "cat /proc/swaps; echo; grep -E '^[^#]+[[:space:]]swap[[:space:]]' /etc/fstab || true"


def parse_swap(text: str) -> SwapFact:
    active: dict[str, int] = {}
    table, _, boot = text.partition("\n\n")
    for line in table.split("\n")[1:]:
        words = line.split()
        kibibytes = number(words[2]) if len(words) >= 3 else None
        if kibibytes is not None:
            active[words[0]] = kibibytes * 1024
    lines = tuple(line.strip() for line in boot.split("\n") if line.strip())
    return SwapFact(active, lines, table.startswith("Filename"))


SWAP = Fact("swap", _swap_script, parse_swap)
