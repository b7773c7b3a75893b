"""Processes of our own, told from strangers by their start time."""

from __future__ import annotations

import os
import signal
import subprocess
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


@dataclass(frozen=True)
class Running:
    """A process of ours. A pid alone may belong to a stranger by now; pid and start time together
    do not lie."""

    pid: int
    ticks: int

    @classmethod
    def of(cls, pid: int) -> Running:
        """The process that has this pid now; if none has, one that is not alive."""
        ticks = start_ticks(pid)
        return cls(pid, -1 if ticks is None else ticks)

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.ticks

    def end(self, *, limit: float = 10.0) -> bool:
        """End it, politely and then not, each for `limit` seconds; True when it is gone."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if not self.alive():
                return True
            try:
                os.kill(self.pid, sign)
            except ProcessLookupError:
                return True
            if self.wait_gone(limit=limit):
                return True
        return False

    def wait_gone(self, *, limit: float) -> bool:
        """Wait `limit` seconds at most; True when it is gone."""
        deadline = time.monotonic() + limit
        while self.alive():
            with suppress(ChildProcessError):  # it may be a child of this very process: reap it
                os.waitpid(self.pid, os.WNOHANG)
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def when_there(child: subprocess.Popen[bytes], made: Path, *, limit: float) -> Running | None:
    """The process, once it has made its socket; None if it ends or takes longer than `limit`
    seconds, and then it is ended."""
    deadline = time.monotonic() + limit
    while not made.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            child.kill()
            child.wait()
            return None
        time.sleep(0.02)
    return Running.of(child.pid)


def last_lines(log: Path, count: int = 6) -> list[str]:
    """The end of what a process said."""
    return log.read_text(errors="replace").splitlines()[-count:]


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
