"""What our containers really have of what RDMA needs, as the kernel shows it: not what they were
asked to be started with, so that a daemon's defaults and a foreign launcher are seen, too."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from spark_cluster.core.framing import MARK, READ
from spark_cluster.core.ours import OURS
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.rdma.causes import ContainerAccess

_MARK = f"{READ}container"

#: CAP_IPC_LOCK's bit (linux/capability.h).
_IPC_LOCK = 1 << 14


def _script(_: ProbeContext) -> str:
    template = "{{.State.Pid}} {{.Name}}"
    return f"""\
{OURS}for _id in $(_ours); do
  {ASK_DOCKER} inspect --format '{template}' "$_id" | while read -r _pid _name; do
    [ -d "/proc/$_pid" ] || continue
    echo "{MARK}container $_name"
    for _file in "/proc/$_pid/root/dev/infiniband/uverbs"*; do
      [ -c "$_file" ] || continue
      sed 's/^/device /' "/sys/class/infiniband_verbs/${{_file##*/}}/ibdev"
    done
    grep -h -e '^Max locked memory' -e '^CapEff' "/proc/$_pid/limits" "/proc/$_pid/status"
    tr '\\n\\0' ' \\n' <"/proc/$_pid/environ" | sed -n 's/^NCCL_/env NCCL_/p'
  done
done 2>/dev/null
true
"""


@dataclass
class _Lines:
    devices: list[str] = field(default_factory=list)
    memlock: int | None = None
    capabilities: int = 0
    env: dict[str, str] = field(default_factory=dict)


_LOCKED = re.compile(r"Max locked memory\s+(\d+|unlimited)\s")
_CAPABILITIES = re.compile(r"CapEff:\s*([0-9a-fA-F]{1,16})\b")


def parse(text: str) -> dict[str, ContainerAccess]:
    """By the container's name."""
    found: dict[str, _Lines] = {}
    current = _Lines()
    for line in text.split("\n"):
        word, _, rest = line.partition(" ")
        if word == _MARK:
            current = found.setdefault(rest.strip().lstrip("/"), _Lines())
        elif word == "device":
            current.devices.append(rest.strip())
        elif word == "env":
            key, _, value = rest.partition("=")
            current.env[key] = value
        elif locked := _LOCKED.match(line):
            current.memlock = number(locked[1])
        elif capabilities := _CAPABILITIES.match(line):
            current.capabilities = int(capabilities[1], 16)
    return {
        name: ContainerAccess(
            container=name,
            devices=tuple(lines.devices),
            memlock=lines.memlock,
            ipc_lock=bool(lines.capabilities & _IPC_LOCK),
            env=lines.env,
        )
        for name, lines in found.items()
    }


CONTAINER_ACCESS = Fact("container-access", _script, parse)
