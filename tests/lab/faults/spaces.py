"""Namespaces that live as long as a process of ours, and what is needed to make them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable

#: Ends with us, however we end.
ALIVE = ("setpriv", "--pdeathsig", "KILL")

_PROGRAMS = ("setpriv", "unshare", "nsenter", "ip", "losetup")
_TRY = """\
mount -t cgroup2 cgroup2 /mnt && d=$(mktemp -d /mnt/spark-faults-XXXXXX) && rmdir $d &&
mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/m &&
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w /mnt/m &&
losetup --find && ip link add scf0 type veth peer name scf1
"""


def why_not() -> str:
    """Why this machine cannot hold such hosts; empty if it can."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no {missing[0]} on this machine"
    if os.geteuid() != 0:
        return "namespaces and mounts need root"
    spaces = ("--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup", "--fork")
    tried = subprocess.run(
        ["unshare", *spaces, "sh", "-c", _TRY],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return f"no hosts of namespaces here: {tried.stderr.strip()[:200]}" if tried.returncode else ""


def eventually(true: Callable[[], object], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:300]}: {done.stderr.strip()}")
    return done.stdout


class Space:
    """A process that does nothing in namespaces of its own, which live as long as it does."""

    def __init__(self, *kinds: str) -> None:
        self._process = subprocess.Popen(
            [*ALIVE, "unshare", *kinds, "sh", "-c", "echo up; exec sleep infinity"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout
        assert self._process.stdout.readline().strip() == "up"
        self.pid = self._process.pid
        self.enter = ["nsenter", "-t", str(self.pid), *kinds, "--"]

    def run(self, script: str) -> str:
        return output([*self.enter, "sh", "-c", script])

    def end(self) -> None:
        self._process.kill()
        self._process.wait(30)
        assert self._process.stdout
        self._process.stdout.close()
