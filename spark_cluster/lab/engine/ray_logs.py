"""How Ray brings its workers' output to the driver: files on each node, a monitor that reads them,
and a driver that leaves out what several workers say alike.

A worker's own output is in its files only, complete: `session_*/logs/worker-*.out` and `.err`. The
container's log has what `ray start` printed, and on the driver's node what the driver passes on.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .wire import Json

POLL = 0.3
"""Seconds between two looks at the files."""
BATCH = 100
"""Most lines that the monitor passes on at once."""
WINDOW = 5.0
"""Seconds for which the driver holds back lines of one pattern (RAY_DEDUP_LOGS_AGG_WINDOW_S)."""
HELP = (
    " (Ray deduplicates logs by default. Set RAY_DEDUP_LOGS=0 to disable log deduplication, or see "
    "https://docs.ray.io/en/master/ray-observability/user-guides/configure-logging.html"
    "#log-deduplication for more options.)"
)
_NUMBER = re.compile(r"\d+|0x[0-9a-fA-F]+")
_CYAN, _GREEN, _PLAIN = "\x1b[36m", "\x1b[32m", "\x1b[0m"


def session_folder(ray_folder: str, session: str) -> str:
    """The folder of the session's logs, which `session_latest` names too."""
    folder = f"{ray_folder}/{session}/logs"
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - pathlib is slow to import
    latest = f"{ray_folder}/session_latest"
    if not os.path.lexists(latest):
        os.symlink(session, latest)  # noqa: PTH211
    return folder


def new_id() -> str:
    """The id of a node or a worker: 28 random bytes."""
    return f"{random.SystemRandom().getrandbits(224):056x}"


def redirect(order: Json) -> None:
    """Send this worker's output to its files, which begin with what the monitor reads of it."""
    base = f"{order['folder']}/worker-{order['worker_id']}-{order['job_id']}-{os.getpid()}"
    for number, end in ((1, "out"), (2, "err")):
        file = os.open(f"{base}.{end}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(file, number)
        os.write(number, f":job_id:{order['job_id']}\n:actor_name:{order['actor']}\n".encode())
        os.close(file)


class LogMonitor:
    """Reads one worker's files as they grow and passes their lines on, until it ends."""

    def __init__(self, order: Json, pid: int, send: Callable[[Json], None]) -> None:
        self._base = f"{order['folder']}/worker-{order['worker_id']}-{order['job_id']}-{pid}"
        self._actor = str(order["actor"])
        self._pid = pid
        self._send = send
        self._read = {"out": 0, "err": 0}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The worker has gone: read what is left, and come back when it was passed on."""
        self._ended.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        while not self._ended.wait(POLL):
            self._look()
        self._look()

    def _look(self) -> None:
        for end in self._read:
            while lines := self._lines(end):
                message = {"lines": lines, "pid": self._pid, "actor": self._actor, "end": end}
                self._send(message)

    def _lines(self, end: str) -> list[str]:
        """The next lines; the last may be the beginning of one only, as it stands in the file."""
        try:
            with open(f"{self._base}.{end}", "rb") as file:  # noqa: PTH123
                file.seek(self._read[end])
                found = [line for line in (file.readline() for _ in range(BATCH)) if line]
                self._read[end] = file.tell()
        except OSError:
            return []
        texts = [line.decode(errors="replace").rstrip("\r\n") for line in found]
        return [
            text for text in texts if text and not text.startswith((":job_id:", ":actor_name:"))
        ]


class Source(NamedTuple):
    """Who wrote a line."""

    actor: str
    pid: int
    ip: str
    """Empty for the driver's own node."""

    def __str__(self) -> str:
        address = f", ip={self.ip}" if self.ip else ""
        return f"{_CYAN}({self.actor} pid={self.pid}{address}){_PLAIN}"


class _Held:
    """A pattern that was seen, and how often since it was last printed."""

    def __init__(self, now: float, source: Source, line: str) -> None:
        self.since = now
        self.count = 0
        self.source = source
        self.line = line
        self.sources = {source}


class Deduplicator:
    """The driver's filter, one for standard output and one for standard error.

    A line is printed when its pattern, which is the line without the words that have digits, is new
    or has come from one worker only. What other workers add to it is counted and printed as the
    last of them with `[repeated 2x across cluster]`, when other lines come after the window.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._explained = False

    def take(self, source: Source, lines: Sequence[str]) -> list[str]:
        """What to print when these lines have come."""
        now = self._clock()
        found = []
        for line in lines:
            key = _pattern(line)
            held = self._held.get(key)
            if not key:
                found.append(f"{source} {line}")
            elif held is None:
                self._held[key] = _Held(now, source, line)
                found.append(f"{source} {line}")
            else:
                held.sources.add(source)
                if len(held.sources) == 1:
                    found.append(f"{source} {line}")
                else:
                    held.count += 1
                    held.source, held.line = source, line
        return found + self._release(now - WINDOW)

    def flush(self) -> list[str]:
        """What is held back still."""
        return self._release(self._clock())

    def _release(self, before: float) -> list[str]:
        found = []
        for key in [key for key, held in self._held.items() if held.since <= before]:
            held = self._held.pop(key)
            if held.count > 1:
                help_text = "" if self._explained else HELP
                self._explained = True
                times = f"{_GREEN} [repeated {held.count}x across cluster]{help_text}{_PLAIN}"
                found.append(f"{held.source} {held.line}{times}")
                held.since, held.count = self._clock(), 0
                self._held[key] = held
            elif held.count:
                found.append(f"{held.source} {held.line}")
        return found


def _pattern(line: str) -> str:
    return " ".join(word for word in line.split() if not _NUMBER.search(word))
