"""The logs of all ranks, merged by time, as they are or as they grow."""

from __future__ import annotations

import contextlib
import functools
import queue
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import DOCKER_REMEDY, looking
from spark_cluster.core.error import InputError, SparkError, StateUnknown
from spark_cluster.core.event import Event, Listener
from spark_cluster.core.units import human_bytes
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.bus import Bus
from spark_cluster.runner.session import HostSession, Session
from spark_cluster.serving import logs as reading
from spark_cluster.serving.logs import WINDOW, LogLine, Window, merge, parse, unread
from spark_cluster.transport.protocol import Completed

#: Seconds that a host has for its logs as they are.
_SECONDS = 120.0

#: Seconds after which following ends by itself: the host's time limit must be finite.
_FOLLOW_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True)
class LogTold(Event):
    """A line of a rank's log; in JSON the line's own fields."""

    kind: str = field(default="log", init=False)
    json_of: ClassVar[tuple[type, ...]] = (LogLine,)
    line: LogLine

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self.line)}


@dataclass(frozen=True)
class Incomplete(Event):
    """Hosts of which there are no logs, or not all; for a person alone."""

    kind: str = field(default="incomplete", init=False)
    passing: ClassVar[bool] = True
    errors: dict[str, SparkError]


@dataclass(frozen=True)
class Detached(Event):
    """Following ended by Ctrl-C; for a person alone."""

    kind: str = field(default="detached", init=False)
    passing: ClassVar[bool] = True


@dataclass(frozen=True)
class Shown:
    """Whether a line of ours was there, also one that `grep` passed over, and whether hosts are
    missing."""

    any_line: bool
    away: bool

    @property
    def exit_code(self) -> int:
        return 3 if self.away else 0


def logs(
    inventory: Inventory,
    names: Sequence[str],
    operator: Operator,
    *,
    ranks: Sequence[int] = (),
    since: str = "",
    tail: int | None = None,
    follow: bool = False,
    grep: str = "",
) -> Shown:
    """Tell the lines of these ranks, or of all. `since` is a time as docker takes it; `tail` are
    lines per rank, where neither is given 200, and 20 to `follow`; `grep` is a regular expression
    that is found in every line told.

    Raises InputError for a `since` that is no time and a `grep` that is no expression.
    """
    pattern = _pattern(grep)
    if since:
        reading.check_since(since)
    if tail is None and not since:
        tail = 20 if follow else 200
    script = reading.script(ranks, since=since, tail=tail, follow=follow)
    tell = Bus((operator.listener,))

    any_line = False

    def show(line: LogLine) -> None:
        nonlocal any_line
        any_line = True
        if pattern.search(line.text):
            tell(LogTold(line))

    with looking(inventory, names, operator) as session:
        if session.lost:
            tell(Incomplete(dict(session.lost)))
        (_follow if follow else _once)(session, script, tell, show)
        return Shown(any_line, bool(session.lost))


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(
            f"--grep {text}: {error}", remedy="Give a regular expression as Python writes them."
        ) from error


def _once(session: Session, script: str, tell: Listener, show: Callable[[LogLine], None]) -> None:
    outcomes = session.each(session.alive, lambda host: host.run(script, timeout=_SECONDS))
    found = []
    lost: dict[str, SparkError] = {}
    for name, done in outcomes.items():
        if isinstance(done, SparkError):
            lost[name] = done
            continue
        if problem := _incomplete(done, name):
            lost[name] = problem
        lines = [line for raw in done.stdout.split("\n") if (line := parse(name, raw)) is not None]
        by_rank: dict[int, list[LogLine]] = {}
        for line in lines:
            by_rank.setdefault(line.rank, []).append(line)
        found += list(by_rank.values())
    _lose(session, lost, tell)
    for line in merge(found):
        show(line)


def _lose(session: Session, errors: Mapping[str, SparkError], tell: Listener) -> None:
    for name, error in errors.items():
        session.hosts[name].lost = error
    if errors:
        tell(Incomplete(dict(errors)))


def _incomplete(done: Completed, host: str) -> SparkError | None:
    """What is missing of a host's logs."""
    if not done.ok:
        return _unread(done, host)
    if done.dropped:
        return StateUnknown(
            f"more than it may send: the oldest {human_bytes(done.dropped)} of its logs are not "
            "here, the newest are",
            host=host,
            remedy="A later --since, or --tail, asks for less.",
        )
    return _missing([why for raw in done.stdout.split("\n") if (why := unread(raw))], host)


def _missing(reasons: list[str], host: str) -> SparkError | None:
    if not reasons:
        return None
    return StateUnknown("; ".join(reasons), host=host, remedy=DOCKER_REMEDY)


def _unread(done: Completed, host: str) -> SparkError:
    """Why the script did not come to its end."""
    said = done.stderr.strip().rpartition("\n")[2] or f"nothing, and ended with {done.status}"
    what = f"docker says: {said}"
    if done.timed_out:
        what = f"docker did not give all its logs within {_SECONDS:.0f} s"
    return StateUnknown(what, host=host, remedy=DOCKER_REMEDY)


def _follow(session: Session, script: str, tell: Listener, show: Callable[[LogLine], None]) -> None:
    """Until every container has ended, or Ctrl-C."""
    arrived: queue.SimpleQueue[LogLine] = queue.SimpleQueue()

    def read(host: HostSession) -> None:
        reasons: list[str] = []

        def take(raw: str) -> None:
            line = parse(host.name, raw)
            if line is not None:
                arrived.put(line)
            elif why := unread(raw):
                reasons.append(why)

        try:
            done = host.run(script, timeout=_FOLLOW_SECONDS, on_line=take)
            if not done.ok and not done.timed_out and not session.stop.requested:
                raise _unread(done, host.name)
            if not session.stop.requested and (problem := _missing(reasons, host.name)):
                raise problem
        except SparkError as error:
            _lose(session, {host.name: error}, tell)

    hosts = [session.hosts[name] for name in session.alive]
    pending = {host.submit(functools.partial(read, host)) for host in hosts}
    window = Window()
    try:
        while pending:
            with contextlib.suppress(queue.Empty):
                while True:
                    window.add(arrived.get(timeout=WINDOW / 2), time.monotonic())
                    if arrived.empty():
                        break
            for line in window.ripe(time.monotonic()):
                show(line)
            pending = wait(pending, timeout=0).not_done
    except KeyboardInterrupt:
        session.stop.request()
        session.abort()
        tell(Detached())
    while not arrived.empty():
        window.add(arrived.get(), time.monotonic())
    for line in window.rest():
        show(line)
