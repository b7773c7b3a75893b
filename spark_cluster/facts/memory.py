"""Memory and swap, in bytes."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.units import GIB, number
from spark_cluster.facts.base import Fact, always

#: What must stay available on a Spark whatever its size, in bytes: with less, hosts froze (a report
#: of three of them). It says nothing of machines with less than LARGE.
LEAST = 4 * GIB
LARGE = 32 * GIB


@dataclass(frozen=True)
class MemoryFact:
    """Bytes. `droppable` is the page cache that drop_caches can give back: unmapped file pages.
    `cma_total` and `cma_free` are contiguous memory set aside for devices; None if the kernel has
    none to speak of."""

    total: int = 0
    available: int = 0
    droppable: int = 0
    cma_total: int | None = None
    cma_free: int | None = None

    @property
    def short(self) -> bool:
        """Whether less than LEAST is available on a large host."""
        return self.total >= LARGE and self.available < LEAST


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
    return MemoryFact(
        get("MemTotal", 0), get("MemAvailable", 0), max(cache, 0), get("CmaTotal"), get("CmaFree")
    )


MEMORY = Fact("memory", always("cat /proc/meminfo"), parse_memory)


@dataclass(frozen=True)
class SwapFact:
    """`active` maps each device or file to its size in bytes; `boot` are fstab's swap lines;
    `read` is False when /proc/swaps gave nothing, not even its heading. `used` in bytes."""

    active: dict[str, int]
    boot: tuple[str, ...] = ()
    read: bool = True
    used: int = 0


_SWAP_SCRIPT = (
    "cat /proc/swaps; echo; grep -E '^[^#]+[[:space:]]swap[[:space:]]' /etc/fstab || true"
)


def parse_swap(text: str) -> SwapFact:
    active: dict[str, int] = {}
    used = 0
    table, _, boot = text.partition("\n\n")
    for line in table.split("\n")[1:]:
        words = line.split()
        kibibytes = number(words[2]) if len(words) >= 3 else None
        if kibibytes is not None:
            active[words[0]] = kibibytes * 1024
            used += (number(words[3]) or 0) * 1024 if len(words) > 3 else 0
    lines = tuple(line.strip() for line in boot.split("\n") if line.strip())
    return SwapFact(active, lines, table.startswith("Filename"), used)


SWAP = Fact("swap", always(_SWAP_SCRIPT), parse_swap)
