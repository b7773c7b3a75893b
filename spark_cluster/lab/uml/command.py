"""A user-mode node's command line, as a pure function of what the node should be."""

from __future__ import annotations

from pathlib import Path

from spark_cluster.lab.machine import Machine, identity
from spark_cluster.lab.topology import INTERFACES, Node
from spark_cluster.lab.uml.network import MTU, port

_DEPTH = 64
"""Frames per system call."""

_CALLS = "seccomp=auto"
"""How system calls reach the node's kernel: by a filter and a signal where this machine can, as a
new process then starts in 7 ms, and not in the 16 of ptrace. The kernel's help calls it unsafe for
programs that are not trusted: those in a node are the lab's own."""


def umid(node: Node) -> str:
    return f"n{node.number}"


def console(machine: Machine) -> Path:
    """The socket of the running kernel's management console."""
    return machine.sockets / umid(machine.node) / "mconsole"


def line(machine: Machine) -> Path:
    """Where the switchboard waits for the node's serial line, on which its agent listens."""
    return machine.sockets / f"{machine.node.number}.line"


def nic(node: Node, interface: str) -> str:
    """A device by the driver for raw sockets, opened on the namespace's end of the cable."""
    return (
        f"vec{INTERFACES.index(interface)}:transport=raw,ifname={port(node, interface)},"
        f"depth={_DEPTH},mtu={MTU},mac={node.mac(interface)}"
    )


def files(machine: Machine) -> dict[str, Path]:
    """The names in the sockets' folder under which the kernel finds its disks.

    It cuts its command line at spaces and a disk's name at commas, which real paths may have."""
    name = umid(machine.node)
    found = {f"{name}.disk": machine.disk}
    if machine.base_disk:
        found[f"{name}.base"] = machine.base_disk
    for i, path in enumerate(machine.extra_disks):
        found[f"{name}.extra{i}"] = path
    return found


def command(machine: Machine, agent: int | None, mhz: str) -> list[str]:
    """To be run in the sockets' folder. `agent` is the file descriptor of the serial line; `mhz`
    is this machine's clock, which perftest wants to read in /proc/cpuinfo."""
    node = machine.node
    name = umid(node)
    disk = f"{name}.disk,{name}.base" if machine.base_disk else f"{name}.disk"
    words = [
        *(str(machine.kernel), f"umid={name}", "uml_dir=./", f"mem={machine.memory_mib}M"),
        f"ubda={disk}",
        *(f"ubd{'bcdefg'[i]}r={name}.extra{i}" for i in range(len(machine.extra_disks))),
        *("root=/dev/ubda", "rootfstype=ext4", "rw", "con0=null,fd:1", "con=null", "ssl=null"),
        *(_CALLS, "quiet", "audit=0", "fsck.mode=skip", f"cpu_mhz={mhz}"),
        *identity(node),
    ]
    if agent is not None:
        words += [f"ssl0=fd:{agent}", "spark.agent"]
    if machine.namespace:
        words += [nic(node, interface) for interface in INTERFACES]
    if machine.dark:
        words += [f"spark.dark={','.join(machine.dark)}"]
    if machine.init:
        words += [f"init={machine.init}"]
    return words
