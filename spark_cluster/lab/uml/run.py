"""Starting and ending user-mode nodes, and what is done to them while they run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from spark_cluster.core.error import LabError
from spark_cluster.lab import process
from spark_cluster.lab.agent import Agent
from spark_cluster.lab.machine import API_PORT, Machine
from spark_cluster.lab.process import Running
from spark_cluster.lab.requirements import find_program
from spark_cluster.lab.topology import INTERFACES, Topology
from spark_cluster.lab.uml import mconsole, network
from spark_cluster.lab.uml.command import command, console, files, line, nic

SHM = "mount -t tmpfs -o size=100%,mode=1777,exec lab /dev/shm"
"""The nodes' memory: a container's own /dev/shm is often small, or forbids to run what is there."""


def new_namespace() -> list[str]:
    """The words before a program that put it into namespaces of its own."""
    words = [find_program("unshare") or "unshare", "--net", "--mount"]
    return words if os.geteuid() == 0 else [*words, "--user", "--map-root-user"]


def _inside(pid: int) -> list[str]:
    words = [find_program("nsenter") or "nsenter", f"--target={pid}", "--net", "--mount"]
    return words if os.geteuid() == 0 else [*words, "--user", "--preserve-credentials"]


def refusal() -> str:
    """Why this machine lets us make no namespace for the nodes; empty if it does."""
    script = f"{SHM} && ip link add left type veth peer name right && ip link add both type bridge"
    done = subprocess.run(
        [*new_namespace(), "sh", "-c", script], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else (done.stderr.strip() or "unshare failed").splitlines()[0]


def lay(
    topology: Topology, sockets: Path, log: Path, ports: dict[str, tuple[int, int]]
) -> tuple[Running, dict[str, tuple[int, int]]]:
    """Start the switchboard: the namespace with all cables. Returns it, and every node's ports
    for SSH and the API on this machine's loopback (those of before, if they are given)."""
    sockets.mkdir(parents=True, exist_ok=True)
    found: dict[str, tuple[int, int]] = {}
    with ExitStack() as stack:
        forwards: list[tuple[int, str, int]] = []
        for node in topology.nodes:
            pair = []
            for old, target in zip(ports.get(node.name, (0, 0)), (22, API_PORT), strict=True):
                ear = stack.enter_context(socket.create_server(("127.0.0.1", old)))
                forwards.append((ear.fileno(), node.wifi_address, target))
                pair.append(ear.getsockname()[1])
            found[node.name] = (pair[0], pair[1])
        given = {
            "sockets": str(sockets),
            "links": network.links(topology),
            "leases": network.leases(topology),
            "gateway": network.GATEWAY,
            "forwards": forwards,
            "nodes": [node.number for node in topology.nodes],
        }
        return _switchboard(given, [number for number, _, _ in forwards], log), found


def _switchboard(given: Mapping[str, object], inherited: Sequence[int], log: Path) -> Running:
    program = [sys.executable, "-m", "spark_cluster.lab.uml.switchboard"]
    with log.open("wb") as sink:
        child = subprocess.Popen(
            [*new_namespace(), "sh", "-c", f'{SHM} && exec "$@"', "sh", *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            pass_fds=inherited,
            start_new_session=True,
            cwd=str(given["sockets"]),
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        )
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdin, child.stdout:
        child.stdin.write(json.dumps(given).encode())
        child.stdin.close()
        if child.stdout.readline() != b"ready\n":
            child.kill()
            child.wait()
            raise LabError(
                "the nodes' network could not be made",
                stderr="\n".join(process.last_lines(log)),
                remedy="`spark-cluster lab up --accel tcg` does without a network namespace",
            )
    (Path(str(given["sockets"])) / "switchboard.pid").write_text(f"{child.pid}\n")
    return Running.of(child.pid)


def end_all(sockets: Path) -> None:
    """End nodes whose note is lost: they still live in the folder they were started for."""
    for path in (*sockets.glob("n*/pid"), *sockets.glob("switchboard.pid")):
        with suppress(OSError, ValueError):
            running = Running.of(int(path.read_text()))
            if Path(f"/proc/{running.pid}/cwd").resolve() == sockets.resolve():
                running.end()


def clock_mhz() -> str:
    """This machine's clock, for perftest, which counts in it and asks /proc/cpuinfo."""
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("cpu MHz"):
            return text.partition(":")[2].strip()
    return "1000.000"


def start(machine: Machine, log: Path, *, limit: float = 30.0) -> Running:
    """Start a node; back when its kernel's management console is there."""
    child = _spawn(machine, log)
    running = process.when_there(child, console(machine), limit=limit)
    if running is None:
        raise LabError(
            f"{machine.node.name} did not start",
            stderr="\n".join(process.last_lines(log) + process.last_lines(machine.console)),
            remedy="read its kernel's last words above; `--accel tcg` does without that kernel",
        )
    return running


def run_to_end(machine: Machine, log: Path, *, limit: float) -> None:
    """Run a machine that ends by itself; what it said is in its console's file."""
    child = _spawn(machine, log)
    try:
        child.wait(limit)
    except subprocess.TimeoutExpired:
        pass
    finally:
        child.kill()
        child.wait()


def _spawn(machine: Machine, log: Path) -> subprocess.Popen[bytes]:
    for name, path in files(machine).items():
        link = machine.sockets / name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    shutil.rmtree(console(machine).parent, ignore_errors=True)  # of one whose power was cut
    with ExitStack() as stack:
        sink = stack.enter_context(log.open("wb"))
        screen = stack.enter_context(machine.console.open("wb"))
        serial: socket.socket | None = None
        if machine.namespace:
            serial = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            serial.connect(str(line(machine)))
        agent = serial.fileno() if serial else None
        return subprocess.Popen(
            [*_around(machine), *command(machine, agent, clock_mhz())],
            stdin=subprocess.DEVNULL,
            stdout=screen,
            stderr=sink,
            pass_fds=[agent] if agent is not None else [],
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "TMPDIR": "/dev/shm"},
        )


def _around(machine: Machine) -> list[str]:
    """The namespaces of the switchboard, or new ones. Entering a mount namespace forgets where
    one was, and a node without a network still needs room for its memory."""
    there = f'cd {shlex.quote(str(machine.sockets))} && exec "$@"'
    if machine.namespace:
        return [*_inside(machine.namespace), "sh", "-c", there, "sh"]
    return [*new_namespace(), "sh", "-c", f"{SHM} && {there}", "sh"]


def connect(
    topology: Topology, machines: Iterable[Machine], started: set[str], segment: int
) -> None:
    """The cables are there before a user-mode node starts."""


def stop(running: Running, machine: Machine) -> None:
    """Cut its power: by its pid."""
    if not running.end():
        raise LabError(
            f"{machine.node.name}, pid {running.pid}, does not end",
            remedy=f"look at it with ps -p {running.pid}, then run `spark-cluster lab down` again",
        )


def set_link(machine: Machine, interface: str, up: bool) -> None:
    """The lab's kernel lets the carrier of its cards be set from within."""
    state = "on" if up else "off"
    answer = Agent(machine.agent).run(f"ip link set dev {interface} carrier {state}", limit=60)
    if answer.code:
        raise LabError(
            f"{machine.node.name} does not set the carrier of {interface}",
            stderr=answer.err.strip(),
            remedy="`spark-cluster lab reset` gives a node back its first state",
        )


def remove_card(machine: Machine, interface: str) -> None:
    """The kernel gives back a card only when it is down, as every interface is that vanishes."""
    Agent(machine.agent).run(f"ip link set dev {interface} down", limit=60)
    mconsole.ask(console(machine), f"remove vec{INTERFACES.index(interface)}")


def add_card(machine: Machine, interface: str) -> None:
    """The node looks up itself whether the card's cable is in."""
    mconsole.ask(console(machine), f"config {nic(machine.node, interface)}")


def freeze(machine: Machine) -> None:
    mconsole.ask(console(machine), "stop")


def thaw(machine: Machine) -> None:
    mconsole.ask(console(machine), "go")


def power_cycle(machine: Machine) -> None:
    """The kernel starts anew in the same process; what was not on its disk is lost."""
    mconsole.ask(console(machine), "reboot")
