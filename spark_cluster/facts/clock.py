"""The host's clock at the end of the probe, and whether something keeps it right."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.units import decimal
from spark_cluster.facts.base import Fact, always
from spark_cluster.facts.lines import Lines


@dataclass(frozen=True)
class ClockFact:
    """`epoch` in seconds since 1970 when the probe's end was near, `uptime` at the same moment in
    seconds since boot. `synchronized` is the kernel's word (timedatectl's NTPSynchronized)."""

    epoch: float | None = None
    uptime: float | None = None
    synchronized: bool | None = None


_SCRIPT = """\
timedatectl show -p NTPSynchronized 2>/dev/null
read -r _up _idle </proc/uptime && echo "uptime=$_up"
echo "epoch=$(date +%s.%N)"
"""


def parse(text: str) -> ClockFact:
    lines = Lines(text, "=")
    return ClockFact(
        decimal(lines.last("epoch")),
        decimal(lines.last("uptime")),
        {"yes": True, "no": False}.get(lines.last("NTPSynchronized")),
    )


CLOCK = Fact("clock", always(_SCRIPT), parse)
