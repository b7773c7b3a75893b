"""What the kernel has said since boot of faults that are known of Sparks: how often, and the newest
line of each kind.

The kernel's own buffer where it still begins with the boot, else the journal, which keeps more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.lines import Lines

#: Seconds that the journal has to answer.
_JOURNAL_SECONDS = 10

#: A kind of line, and awk's condition for it. `readded` is what mlx5_core says when it asks the
#: slot for its power and gets no answer (events.c, mlx5_pcie_event): seen after the ConnectX came
#: back to the bus, and not at a boot. Domains 0000 and 0002 are the ConnectX's on a Spark.
_KINDS = {
    "readded": "/mlx5_core/ && /PCIe slot power capability was not advertised/",
    "aer": "/[Uu]ncorrect/ && (/AER:/ || /PCIe Bus Error/) && (/mlx5_core/ || /pcieport 000[02]:/)",
    "removal": "/cx7-pcie-hotplug/ && /Cable removal/",
    "plugin": "/cx7-pcie-hotplug/ && /Cable plugin/",
    "nvrm": "/NVRM:/ && /NV_ERR_NO_MEMORY/",
}

#: Characters of a line that are kept.
_LINE = 300


@dataclass(frozen=True)
class Said:
    """`count` lines of a kind; `line` is the newest, and `at` its time in seconds since boot."""

    count: int
    line: str
    at: float | None = None


@dataclass(frozen=True)
class KernelLogFact:
    """`read`: the log could be read. `said` is by kind; what is not there was not said."""

    read: bool = False
    said: dict[str, Said] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        found = self.said.get(kind)
        return found.count if found else 0


def _script(_: ProbeContext) -> str:
    rules = "\n".join(f'{condition} {{ note("{kind}") }}' for kind, condition in _KINDS.items())
    return f"""\
_known() {{
  awk '
function note(kind) {{ count[kind]++; last[kind] = substr($0, 1, {_LINE}) }}
{rules}
END {{ print "lines " NR; for (kind in count) print "said " kind " " count[kind] " " last[kind] }}'
}}
_journal() {{
  timeout -k 1 {_JOURNAL_SECONDS} journalctl -k -b 0 -o short-monotonic --no-pager -q
}}
case $(dmesg 2>/dev/null | head -n 1) in
  "[    0."*) dmesg 2>/dev/null | _known ;;
  *) {{ _journal || dmesg; }} 2>/dev/null | _known ;;
esac
true
"""


_STAMP = re.compile(r"^\[\s*(\d{1,10}\.\d{1,9})\]", re.ASCII)


def parse(text: str) -> KernelLogFact:
    lines = Lines(text)
    if not lines.number("lines"):
        return KernelLogFact()
    counted = (
        (kind, number(times), line[:_LINE].strip()) for kind, times, line in lines.words("said", 3)
    )
    return KernelLogFact(
        True,
        {kind: _said(count, line) for kind, count, line in counted if kind in _KINDS and count},
    )


def _said(count: int, line: str) -> Said:
    stamp = _STAMP.match(line)
    return Said(count, line, float(stamp[1]) if stamp else None)


KERNEL_LOG = Fact("kernel-log", _script, parse)
