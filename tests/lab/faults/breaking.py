"""The faults: each is done to a host, or to the controller, in the middle of a run."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from tests.lab.faults.hosts import Host
from tests.lab.faults.spaces import eventually

#: Seconds by which a clock is wrong: more than any of our own limits.
SKEW = 7200

_OUR_SCRIPT = "pgrep -f '^(/bin/)?(ba)?sh -s' >/dev/null && echo runs"


@dataclass(frozen=True)
class Fault:
    """`strike` is called once in the middle of a run, with the controller and the host that is
    hit; `mend` after the run. `before`: it is there already when the run begins."""

    name: str
    strike: Callable[[subprocess.Popen[str], Host], object]
    mend: Callable[[Host], object] = lambda host: None
    before: bool = False


def kill(controller: subprocess.Popen[str], _: Host) -> None:
    controller.kill()


def drop(_: subprocess.Popen[str], host: Host) -> None:
    """The connection's own process in sshd dies, if it can be while a script of ours runs."""
    with contextlib.suppress(TimeoutError):
        eventually(lambda: "runs" in host.on(_OUR_SCRIPT), 2, "a script runs")
    host.on("pkill -KILL sshd-session")


def cut(_: subprocess.Popen[str], host: Host) -> None:
    host.cut()
    host.switch_on()


def kill_and_cut(controller: subprocess.Popen[str], host: Host) -> None:
    controller.kill()
    cut(controller, host)


def fill(_: object, host: Host) -> None:
    host.on("dd if=/dev/zero of=/var/tmp/fill bs=64k; dd if=/dev/zero of=/var/tmp/fill2 bs=1k")


def stop_docker(_: object, host: Host) -> None:
    host.on("kill -STOP $(pidof dockerd)")


def skew(_: object, host: Host) -> None:
    host.on(f"echo -{SKEW} > /run/skew")


KILLED = Fault("controller killed", kill)
DROPPED = Fault("SSH dropped", drop)
CUT = Fault("power cut", cut, lambda host: host.await_ready())
BOTH = Fault("killed, power cut", kill_and_cut, lambda host: host.await_ready())
FULL = Fault("disk full", fill, lambda host: host.on("rm -f /var/tmp/fill*"), before=True)
HUNG = Fault(
    "docker hung", stop_docker, lambda host: host.on("kill -CONT $(pidof dockerd)"), before=True
)
SKEWED = Fault("clock back 2 h", skew, lambda host: host.on("rm -f /run/skew"))
