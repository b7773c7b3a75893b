"""A boot that is done once: under QEMU, the nodes' first boot is kept.

A node's saved state is its disk, its memory as a file, and the state of its devices. Restoring
maps the memory file privately, so that a node is there within a second or two, and as often as
one likes: this is also how `lab reset` works.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from spark_cluster.core.error import LabError
from spark_cluster.lab import accel, layers, nodes, vm
from spark_cluster.lab.agent import Agent
from spark_cluster.lab.join import Image
from spark_cluster.lab.layers import Say
from spark_cluster.lab.machine import CPU, Machine, command
from spark_cluster.lab.phases import phase
from spark_cluster.lab.qmp import Qmp
from spark_cluster.lab.requirements import find_program
from spark_cluster.lab.topology import Node, topology

_QUIET = """
swapon --show | grep -q /swap.img || swapon /swap.img
sync
free=$(awk '/MemFree/ {print int($2 / 1024) - 200}' /proc/meminfo)
[ "$free" -le 0 ] || head -c "${free}M" /dev/zero > /dev/shm/zeros
rm -f /dev/shm/zeros
"""
"""Free memory is filled with zeros once, so that the saved file has holes there."""


@dataclass(frozen=True)
class Saved:
    folder: Path

    def disk(self, node: str) -> Path:
        return self.folder / f"{node}.qcow2"

    def ram(self, node: str) -> Path:
        return self.folder / f"{node}.ram"

    def devices(self, node: str) -> Path:
        return self.folder / f"{node}.state"


def overlay(disk: Path, backing: Path, form: str) -> None:
    """A node's own disk: only what differs from the one behind it."""
    program = find_program("qemu-img") or "qemu-img"
    words = [program, "create", "-q", "-f", "qcow2", "-b", str(backing), "-F", form, str(disk)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(
            f"no disk for the node: {done.stderr.strip()}", remedy="look at the free disk space"
        )


def saved_key(made: Image, kind: str, memory_mib: int) -> str:
    """Whatever a saved state depends on: the machine, the program and the processor."""
    place = Path("/")
    machine = Machine(
        Node(1), kind, memory_mib, place, place, place, place, place, 0, 0, qemu="qemu"
    )
    processor = ""
    if kind == "kvm":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = "".join(sorted({x for x in lines if x.startswith(("model name", "flags"))}))
    return layers.digest(
        made.key, accel.qemu_version(), CPU[kind], command(machine), processor, _QUIET
    )


def ensure_saved(made: Image, kind: str, memory_mib: int, say: Say) -> Saved:
    def build(work: Path) -> None:
        with phase("first boot", "starts the nodes; kept, so only this once", say):
            _first_boot(made, kind, memory_mib, Saved(work), say)

    return Saved(layers.layer("saved", saved_key(made, kind, memory_mib), build, say))


def _first_boot(made: Image, kind: str, memory_mib: int, target: Saved, say: Say) -> None:
    plan = topology("pair")
    machines = []
    for node in plan.nodes:
        disk = target.disk(node.name)
        overlay(disk, made.disk, "raw")
        machines.append(
            Machine(
                node=node,
                accel=kind,
                memory_mib=memory_mib,
                kernel=made.base.kernel,
                initrd=made.base.initrd,
                disk=disk,
                sockets=target.folder,
                console=target.folder / f"{node.name}.console",
                ssh_port=vm.free_port(),
                api_port=vm.free_port(),
                ram=target.ram(node.name),
                ram_shared=True,
                qemu=accel.qemu(),
            )
        )
    with ExitStack() as stack:
        for machine in machines:
            running = vm.start(machine, target.folder / f"{machine.node.name}.qemu.log")
            stack.callback(vm.stop, running, machine)
        vm.connect(plan, machines, {m.node.name for m in machines}, vm.free_port())
        nodes.wait_ready(machines, say)
        nodes.settle(machines)
        for machine in machines:
            Agent(machine.agent).run(_QUIET, limit=300)
            with Qmp(machine.qmp, limit=60.0) as monitor:
                monitor.execute("stop")
                monitor.save(target.devices(machine.node.name), limit=120)
    dig = find_program("fallocate")
    for machine in machines:
        if dig:
            subprocess.run([dig, "--dig-holes", str(target.ram(machine.node.name))], check=False)
    for path in target.folder.glob("*.q*"):
        if path.suffix in (".qmp", ".qga"):
            path.unlink(missing_ok=True)


def drop(saved: Saved) -> None:
    """A saved state that does not restore is worth nothing."""
    shutil.rmtree(saved.folder, ignore_errors=True)
