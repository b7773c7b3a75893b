"""How busy the CPU is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, always


@dataclass(frozen=True)
class CpuFact:
    """The load averages over 1, 5 and 15 minutes, empty if unknown, and the number of cores."""

    load: tuple[float, ...] = ()
    cores: int | None = None


_SCRIPT = "cat /proc/loadavg\nnproc\n"

_LOADS = re.compile(r"((?:\d{1,7}\.\d{1,3} ){3})\S+ \d+", re.ASCII)


def parse(text: str) -> CpuFact:
    """The first three words of /proc/loadavg (proc_loadavg(5)), then nproc's number."""
    first, _, second = text.partition("\n")
    found = _LOADS.fullmatch(first.strip())
    loads = tuple(float(word) for word in found[1].split()) if found else ()
    return CpuFact(loads, number(second.strip()))


CPU = Fact("cpu", always(_SCRIPT), parse)
