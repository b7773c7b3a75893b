"""What holds the host's memory, what the kernel had to kill, and what guards against that."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.lines import Lines

#: systemd units that end a process before the host freezes.
GUARDS = ("earlyoom", "systemd-oomd", "nohang")

_TOP = 6


@dataclass(frozen=True)
class Process:
    """`rss` in bytes."""

    pid: int
    user: str
    rss: int
    name: str


@dataclass(frozen=True)
class MemoryPressureFact:
    """`processes` are those with the most resident memory, largest first. `oom_kills` counts since
    boot (/proc/vmstat), `victims` are the kernel's last lines about them. `units` is what systemd
    says of each of GUARDS. `shared` is memory in tmpfs and shared memory, in bytes."""

    processes: tuple[Process, ...] = ()
    oom_kills: int | None = None
    victims: tuple[str, ...] = ()
    units: dict[str, str] = field(default_factory=dict)
    shared: int = 0


def _script(_: ProbeContext) -> str:
    names = " ".join(GUARDS)
    return f"""\
ps -eo pid=,user:32=,rss=,comm= --sort=-rss 2>/dev/null | sed -n '1,{_TOP}s/^/process /p'
while read -r _key _value; do
  [ "$_key" != oom_kill ] || {{ echo "oom_kill $_value"; _kills=$_value; }}
done </proc/vmstat
while read -r _key _value _unit; do
  [ "$_key" != Shmem: ] || echo "shared $_value"
done </proc/meminfo
[ "${{_kills:-0}}" = 0 ] ||
  dmesg 2>/dev/null | grep -F 'Killed process' | tail -n 3 | sed 's/^/victim /'
# shellcheck disable=SC2046
set -- $(systemctl is-active {names} 2>/dev/null)
for _u in {names}; do echo "unit $_u ${{1:-unknown}}"; [ $# = 0 ] || shift; done
true
"""


def parse(text: str) -> MemoryPressureFact:
    lines = Lines(text)
    processes = [
        Process(int(pid), user, int(rss) * 1024, name)
        for pid, user, rss, name in lines.words("process", 4)
        if number(pid) is not None and number(rss) is not None
    ]
    return MemoryPressureFact(
        tuple(processes),
        lines.number("oom_kill"),
        tuple(line.strip() for line in lines.every("victim")),
        dict(lines.words("unit", 2)),
        (lines.number("shared") or 0) * 1024,
    )


MEMORY_PRESSURE = Fact("memory-pressure", _script, parse)
