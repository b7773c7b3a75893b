"""What processes leave behind or hold: shared memory, semaphores, hugepages; and who runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, always
from spark_cluster.facts.lines import Lines


@dataclass(frozen=True)
class SharedMemoryFact:
    """`shm` maps the names in /dev/shm to their owner's uid; POSIX semaphores are among them, as
    `sem.NAME`. `used` are those that a process has open or mapped. `segments` (System V shared
    memory to which nobody is attached) and `semaphores` (System V) are ids of root's. `hugepages`
    counts those in use, `processes` maps pids to names, without zombies; `largest` are the three
    processes with the most resident memory, as (name, pid, bytes)."""

    shm: dict[str, int] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    segments: frozenset[int] = frozenset()
    semaphores: frozenset[int] = frozenset()
    hugepages: int = 0
    processes: dict[int, str] = field(default_factory=dict)
    largest: tuple[tuple[str, int, int], ...] = ()


# Any user may put line breaks into a name: `?` stands for them. Columns of /proc/sysvipc:
# proc_sysvipc(5).
_SCRIPT = """\
find /dev/shm -mindepth 1 -maxdepth 1 -printf 'shm %U %f\\0' 2>/dev/null |
  tr '\\n\\0' '?\\n'
{
  grep -hosE ' /dev/shm/.+' /proc/[0-9]*/maps
  find /proc/[0-9]*/fd -lname '/dev/shm/*' -printf ' %l\\0' 2>/dev/null |
    tr '\\n\\0' '?\\n'
} | sed 's|^ /dev/shm/|used |; s| (deleted)$||; s|/.*||' | sort -u
awk 'NR > 1 && $7 == 0 && $8 == 0 {print "segment", $2}' /proc/sysvipc/shm
awk 'NR > 1 && $5 == 0 {print "semaphores", $2}' /proc/sysvipc/sem
awk '/^HugePages_Total/ {t = $2} /^HugePages_Free/ {f = $2} END {print "hugepages", t - f}' \\
  /proc/meminfo
ps -eo stat=,pid=,rss=,comm= | sed 's/^/process /'
"""


def parse(text: str) -> SharedMemoryFact:
    lines = Lines(text)
    files = [rest.partition(" ") for rest in lines.every("shm")]
    processes = [
        (name, int(pid), int(rss) * 1024)
        for state, pid, rss, name in lines.words("process", 4)
        if number(pid) is not None and number(rss) is not None and not state.startswith("Z")
    ]
    return SharedMemoryFact(
        {name: int(owner) for owner, _, name in files if name and number(owner) is not None},
        frozenset(lines.every("used")),
        frozenset(lines.numbers("segment")),
        frozenset(lines.numbers("semaphores")),
        lines.number("hugepages") or 0,
        {pid: name for name, pid, _ in processes},
        tuple(sorted(processes, key=lambda each: -each[2])[:3]),
    )


SHARED_MEMORY = Fact("shared-memory", always(_SCRIPT), parse)
