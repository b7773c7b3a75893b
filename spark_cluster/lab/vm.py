"""Starting and ending QEMU processes, and plugging cables into them while they run."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from spark_cluster.core.error import LabError
from spark_cluster.lab import process
from spark_cluster.lab.machine import Machine, command, hub, nic
from spark_cluster.lab.process import Running
from spark_cluster.lab.qmp import Qmp, QmpError
from spark_cluster.lab.topology import HALVES, Cable, Topology


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(machine: Machine, log: Path, *, limit: float = 30.0) -> Running:
    """Start a machine, paused; back when its monitor answers."""
    machine.sockets.mkdir(parents=True, exist_ok=True)
    for path in (machine.qmp, machine.agent):
        path.unlink(missing_ok=True)
    with log.open("wb") as sink:
        child = subprocess.Popen(
            command(machine),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            cwd="/",
        )
    running = process.when_there(child, machine.qmp, limit=limit)
    if running is None:
        raise LabError(
            f"{machine.node.name} did not start",
            stderr="\n".join(process.last_lines(log)),
            remedy="read QEMU's last words above; memory and free disk are the usual causes",
        )
    return running


def connect(
    topology: Topology, machines: Iterable[Machine], started: set[str], segment: int
) -> None:
    """Plug every cable that has an end at a machine that was just started, and let it go on."""
    by_name = {machine.node.name: machine for machine in machines}
    with ExitStack() as stack:
        monitors = {n: stack.enter_context(Qmp(m.qmp)) for n, m in by_name.items()}
        for name in started:
            set_carriers(topology, name, monitors[name])
            for interface, number in topology.segments_of(name).items():
                join_segment(monitors[name], interface, number, segment)
        for cable in topology.cables:
            ends = {cable.left, cable.right}
            if ends & started and ends <= monitors.keys():
                sockets = by_name[cable.left].sockets
                plug(cable, monitors[cable.left], monitors[cable.right], sockets)
        for name in started:
            monitors[name].execute("cont")


def stop(running: Running, machine: Machine, *, limit: float = 10.0) -> None:
    """Ask QEMU to end; take its own pid if it does not listen."""
    if not running.alive():
        return
    with suppress(QmpError), Qmp(machine.qmp, limit=3.0) as monitor:
        monitor.execute("quit")
    if running.wait_gone(limit=limit):
        return
    if not running.end():
        raise LabError(
            f"the machine with pid {running.pid} does not end",
            remedy=f"look at it with ps -p {running.pid}, then run `spark-cluster lab down` again",
        )


def set_carriers(topology: Topology, node: str, monitor: Qmp) -> None:
    """A half without a cable has no carrier."""
    for interface in HALVES:
        monitor.set_link(interface, topology.carrier(node, interface))


def join_segment(monitor: Qmp, interface: str, number: int, port: int) -> None:
    """Put an interface on a segment that several nodes share: the 10GbE network, or a switch."""
    group = f"239.255.77.{1 + number}:{port}"
    _plug(monitor, interface, {"type": "socket", "mcast": group, "localaddr": "127.0.0.1"})


def plug(cable: Cable, left: Qmp, right: Qmp, sockets: Path) -> None:
    """Join two halves; a cable whose other end was restarted is pulled out first."""
    path = sockets / f"{cable.left[-1]}{hub(cable.left_interface)}.cable"
    path.unlink(missing_ok=True)
    address = {"type": "unix", "path": str(path)}
    unplug(right, cable.right_interface)
    _plug(left, cable.left_interface, {"type": "stream", "server": True, "addr": address})
    _plug(right, cable.right_interface, {"type": "stream", "server": False, "addr": address})


def unplug(monitor: Qmp, interface: str) -> None:
    for ident in (f"p{hub(interface)}", f"w{hub(interface)}"):
        with suppress(QmpError):  # nothing was plugged in
            monitor.execute("netdev_del", id=ident)


def _plug(monitor: Qmp, interface: str, backend: dict[str, object]) -> None:
    unplug(monitor, interface)
    number = hub(interface)
    monitor.execute("netdev_add", id=f"w{number}", **backend)
    monitor.execute(
        "netdev_add", type="hubport", id=f"p{number}", hubid=number, netdev=f"w{number}"
    )


def set_link(machine: Machine, interface: str, up: bool) -> None:
    with Qmp(machine.qmp) as monitor:
        monitor.set_link(interface, up)


def remove_card(machine: Machine, interface: str) -> None:
    _tell(machine, "device_del", id=interface)


def add_card(machine: Machine, interface: str) -> None:
    driver, *settings = nic(machine.node, interface).split(",")
    fields = dict(setting.split("=", 1) for setting in settings)
    with Qmp(machine.qmp) as monitor:
        monitor.execute("device_add", driver=driver, **fields)
        monitor.set_link(interface, interface not in machine.dark)


def freeze(machine: Machine) -> None:
    _tell(machine, "stop")


def thaw(machine: Machine) -> None:
    _tell(machine, "cont")


def power_cycle(machine: Machine) -> None:
    """What was not on its disk is lost."""
    _tell(machine, "system_reset")


def _tell(machine: Machine, command: str, **arguments: object) -> None:
    with Qmp(machine.qmp) as monitor:
        monitor.execute(command, **arguments)
