"""What our containers really have of what RDMA needs, as the kernel shows it: not what they were
asked to be started with, so that a daemon's defaults and a foreign launcher are seen, too."""

from __future__ import annotations

import re

from spark_cluster.core.framing import MARK, READ, blocks
from spark_cluster.core.ours import OURS
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.lines import Lines
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


_LOCKED = re.compile(r"^Max locked memory\s+(\d+|unlimited)\s", re.MULTILINE)
_CAPABILITIES = re.compile(r"^CapEff:\s*([0-9a-fA-F]{1,16})\b", re.MULTILINE)


def parse(text: str) -> dict[str, ContainerAccess]:
    """By the container's name."""
    named = ((header.strip().lstrip("/"), said) for header, said in blocks(text, _MARK))
    return {name: _access(name, said) for name, said in named}


def _access(name: str, said: str) -> ContainerAccess:
    lines = Lines(said)
    locked, capabilities = _LOCKED.search(said), _CAPABILITIES.search(said)
    variables = (rest.partition("=") for rest in lines.every("env"))
    return ContainerAccess(
        container=name,
        devices=tuple(device.strip() for device in lines.every("device")),
        memlock=number(locked[1]) if locked else None,
        ipc_lock=bool(int(capabilities[1], 16) & _IPC_LOCK) if capabilities else False,
        env={key: value for key, _, value in variables},
    )


CONTAINER_ACCESS = Fact("container-access", _script, parse)
