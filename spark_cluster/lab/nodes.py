"""Waiting until machines that were started together are usable."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

from spark_cluster.core.error import LabError
from spark_cluster.lab.agent import Agent, AgentSilent, Answer
from spark_cluster.lab.layers import Say
from spark_cluster.lab.machine import Machine
from spark_cluster.lab.topology import HALVES, MANAGEMENT

BOOT_LIMIT = 900.0
"""Far more than a boot takes under TCG on a busy machine, so that only a dead one hits it."""

_READY = f"""
fail() {{ echo "$1"; exit 1; }}
[ -d /sys/class/net/{MANAGEMENT} ] || fail "waiting for {MANAGEMENT}"
[ -S /run/docker.sock ] || fail "starting services"
set -- $(systemctl is-active NetworkManager ssh docker)
[ "$1" = active ] || fail "NetworkManager is starting"
ip -4 -br addr show dev {MANAGEMENT} | grep -q /24 || fail "waiting for the address of {MANAGEMENT}"
[ "$2" = active ] || systemctl -q is-active ssh.socket || fail "sshd is starting"
[ "$3" = active ] || fail "docker is starting"
[ "$(cat /sys/class/infiniband/*/ports/1/state | wc -l)" = 4 ] || fail "RDMA devices are missing"
"""

"""Ubuntu starts sshd at the first connection, by ssh.socket."""

_SETTLE = f"""
for i in {" ".join(HALVES)}; do
    [ "$(cat /sys/class/net/$i/carrier 2>/dev/null)" != 0 ] || {{
        ip link set dev $i multicast off
        ip link set dev $i multicast on
    }}
done
"""
"""rxe calls a port active when its interface is set up, cable or not. Any change of the
interface makes it look again."""


def set_clock(machine: Machine) -> None:
    """A restored machine still lives in the second it was saved in."""
    Agent(machine.agent).run(f"date -s @{time.time():.3f}", limit=60)


def settle(machines: list[Machine]) -> None:
    """Correct what the stand-in for the RDMA hardware gets wrong at boot."""
    for machine in machines:
        Agent(machine.agent).run(_SETTLE, limit=120)


def wait_ready(machines: list[Machine], say: Say, *, limit: float = BOOT_LIMIT) -> None:
    """Wait until every machine has its network, its RDMA devices, SSH and Docker."""
    with ThreadPoolExecutor(max_workers=max(1, len(machines))) as pool:
        for done in [pool.submit(_wait_one, machine, say, limit) for machine in machines]:
            done.result()


def _wait_one(machine: Machine, say: Say, limit: float) -> None:
    deadline = time.monotonic() + limit
    shown, state = "", "booting"
    while time.monotonic() < deadline:
        try:
            answer: Answer | None = Agent(machine.agent).run(_READY, limit=30)
        except AgentSilent:
            answer = None
        if answer is not None and answer.code == 0:
            if answers_ssh(machine.ssh_port):
                say(f"{machine.node.name} is ready")
                return
            state = "sshd does not answer yet"
        elif answer is not None:
            state = answer.out.strip().splitlines()[0] if answer.out.strip() else answer.err.strip()
        if state != shown:
            shown = state
            say(f"{machine.node.name}: {state}")
        time.sleep(1.5)  # each look costs the guest more than us
    raise LabError(
        f"{machine.node.name} was not ready within {limit:.0f} s: {state}",
        remedy=f"read its console, {machine.console}; then `spark-cluster lab down` and `up`",
    )


def answers_ssh(port: int) -> bool:
    """QEMU accepts the connection for the guest, so only the banner proves an sshd."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as channel:
            return channel.recv(4) == b"SSH-"
    except OSError:
        return False
