"""Limits that the host gives to what runs on it: open files of a container, and swappiness."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, always
from spark_cluster.facts.lines import Lines

_DAEMON_FILE = "/etc/docker/daemon.json"

#: No limit, as a number: above every other.
UNLIMITED = 2**63


@dataclass(frozen=True)
class LimitsFact:
    """`swappiness` is the kernel's vm.swappiness. `open_files`: the soft limit of a container that
    asks for none, which is docker's own default if it has one, and otherwise containerd's. None is
    unknown."""

    swappiness: int | None = None
    open_files: int | None = None


_SCRIPT = f"""\
sed 's/^/swappiness /' /proc/sys/vm/swappiness 2>/dev/null
_value=$(cat {_DAEMON_FILE} 2>/dev/null | tr -d ' \\t\\n' |
  grep -oE '"nofile":\\{{[^}}]{{0,200}}\\}}')
[ -z "$_value" ] || echo "docker $_value"
for _pid in $(pidof containerd 2>/dev/null); do
  sed -n 's/^Max open files  */containerd /p' "/proc/$_pid/limits"
done 2>/dev/null
true
"""

_SOFT = re.compile(r'"Soft":(-?\d{1,19})\b', re.ASCII)


def _files(text: str) -> int | None:
    return UNLIMITED if text in ("unlimited", "-1") else number(text)


def parse(text: str) -> LimitsFact:
    lines = Lines(text)
    asked = _SOFT.search(lines.last("docker"))
    docker = _files(asked[1]) if asked else None
    containerd = _files(lines.last("containerd").partition(" ")[0])
    return LimitsFact(lines.number("swappiness"), containerd if docker is None else docker)


LIMITS = Fact("limits", always(_SCRIPT), parse)
