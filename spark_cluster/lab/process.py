"""Processes of our own, told from strangers by their start time."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def is_ours(pid: int, ticks: int) -> bool:
    """A pid alone may belong to a stranger by now; pid and start time together do not lie."""
    return start_ticks(pid) == ticks


@dataclass(frozen=True)
class Running:
    """A process of ours: its pid is only believed together with its start time."""

    pid: int
    ticks: int

    def alive(self) -> bool:
        return is_ours(self.pid, self.ticks)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def end(pid: int, ticks: int, *, limit: float = 10.0) -> bool:
    """End our process, politely and then not; True when it is gone."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not is_ours(pid, ticks):
            return True
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return True
        if wait_gone(pid, ticks, limit=limit):
            return True
    return False


def wait_gone(pid: int, ticks: int, *, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while is_ours(pid, ticks):
        with suppress(ChildProcessError):  # ours may be a child of this very process: reap it
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
