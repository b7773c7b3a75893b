"""The host's clock at the end of the probe, and whether something keeps it right."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.facts.base import Fact, ProbeContext


@dataclass(frozen=True)
class ClockFact:
    """`epoch` in seconds since 1970 when the probe's end was near, `uptime` at the same moment in
    seconds since boot. `synchronized` is the kernel's word (timedatectl's NTPSynchronized)."""

    epoch: float | None = None
    uptime: float | None = None
    synchronized: bool | None = None


def _script(_: ProbeContext) -> str:
    return """\
timedatectl show -p NTPSynchronized 2>/dev/null
read -r _up _idle </proc/uptime && echo "uptime=$_up"
echo "epoch=$(date +%s.%N)"
"""


_SECONDS = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)


def _seconds(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text) else None


def parse(text: str) -> ClockFact:
    values = dict(line.partition("=")[::2] for line in text.split("\n") if "=" in line)
    synchronized = {"yes": True, "no": False}.get(values.get("NTPSynchronized", "").strip())
    return ClockFact(
        _seconds(values.get("epoch", "").strip()),
        _seconds(values.get("uptime", "").strip()),
        synchronized,
    )


CLOCK = Fact("clock", _script, parse)
