"""What holds the host's memory, what the kernel had to kill, and what guards against that."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext

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
    processes: list[Process] = []
    victims: list[str] = []
    units: dict[str, str] = {}
    kills: int | None = None
    shared = 0
    for line in text.split("\n"):
        kind, _, rest = line.partition(" ")
        words = rest.split(None, 3)
        if kind == "process" and len(words) == 4:
            pid, rss = number(words[0]), number(words[2])
            if pid is not None and rss is not None:
                processes.append(Process(pid, words[1], rss * 1024, words[3].strip()))
        elif kind == "oom_kill":
            kills = number(rest)
        elif kind == "shared":
            shared = (number(rest) or 0) * 1024
        elif kind == "victim":
            victims.append(rest.strip())
        elif kind == "unit" and len(words) == 2:
            units[words[0]] = words[1]
    return MemoryPressureFact(tuple(processes), kills, tuple(victims), units, shared)


MEMORY_PRESSURE = Fact("memory-pressure", _script, parse)
