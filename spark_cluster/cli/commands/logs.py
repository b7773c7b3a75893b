"""`spark-cluster logs`: the logs of all ranks, merged by time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import HostsOption, InventoryOption, JsonOption, split
from spark_cluster.cli.terminal import say, say_json

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping

    from spark_cluster.core.error import SparkError
    from spark_cluster.runner.session import HostSession, Session
    from spark_cluster.serving.logs import LogLine
    from spark_cluster.transport.protocol import Completed

_COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "bright_red", "bright_cyan", "white")

#: Seconds that a host has for its logs as they are.
_SECONDS = 120.0

#: Seconds after which following ends by itself: the host's time limit must be finite.
_FOLLOW_SECONDS = 7 * 24 * 3600.0


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    ranks: Annotated[
        list[int] | None, typer.Argument(metavar="[RANK]...", help="Limit to these ranks.")
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Follow the logs; Ctrl-C detaches and stops nothing."),
    ] = False,
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Show lines since this time: 10m, 2h, 2026-11-21T03:15:00.",
        ),
    ] = "",
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Lines to show per rank.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="REGEX", help="Show only lines that match.")
    ] = None,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the logs of all ranks, merged by time. Each line names its rank and host."""
    from spark_cluster.cli.running import load_inventory, looking
    from spark_cluster.inventory.loader import select
    from spark_cluster.serving import logs as reading

    loaded = load_inventory(inventory)
    pattern = _pattern(grep)
    if since:
        reading.check_since(since)
    if tail is None and not since:
        tail = 20 if follow else 200
    script = reading.script(ranks or (), since=since, tail=tail, follow=follow)
    show = _printer(pattern, as_json=as_json)
    with looking(loaded, select(loaded, split(hosts))) as session:
        _tell(session.lost)
        shown = (_follow if follow else _once)(session, script, show)
        away = bool(session.lost)
    if not shown and not follow and not away:
        say("no log line of ours; `spark-cluster status` shows what runs", err=True)
    return 3 if away else 0


def _pattern(text: str | None) -> re.Pattern[str] | None:
    import re

    from spark_cluster.core.error import InputError

    try:
        return re.compile(text) if text is not None else None
    except re.error as error:
        raise InputError(
            f"--grep {text}: {error}", remedy="Give a regular expression as Python writes them."
        ) from error


def _printer(pattern: re.Pattern[str] | None, *, as_json: bool) -> Callable[[LogLine], None]:
    from dataclasses import asdict

    from spark_cluster.cli.terminal import Console

    console = Console()

    def show(line: LogLine) -> None:
        if pattern is not None and not pattern.search(line.text):
            return
        if as_json:
            say_json(asdict(line))
            return
        colour = _COLOURS[line.rank % len(_COLOURS)]
        where = f"{line.time[11:23]} rank {line.rank} {line.host}"
        console.log_line((where, colour), line.text)

    return show


def _once(session: Session, script: str, show: Callable[[LogLine], None]) -> bool:
    from spark_cluster.core.error import SparkError
    from spark_cluster.serving.logs import merge, parse

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
    _lose(session, lost)
    any_line = False
    for line in merge(found):
        any_line = True
        show(line)
    return any_line


def _lose(session: Session, errors: Mapping[str, SparkError]) -> None:
    for name, error in errors.items():
        session.hosts[name].lost = error
    _tell(errors)


def _tell(errors: Mapping[str, SparkError]) -> None:
    """Of which hosts there are no logs, or not all, and what to do next."""
    from spark_cluster.actions import remedies

    nexts = remedies.after({name: error.remedy for name, error in errors.items()})
    for name, error in errors.items():
        say(f"unknown: {name}: {error.message}", err=True)
        if name in nexts:
            say(f"  next: {nexts[name]}", err=True)


def _incomplete(done: Completed, host: str) -> SparkError | None:
    """What is missing of a host's logs."""
    from spark_cluster.core.error import StateUnknown
    from spark_cluster.core.units import human_bytes
    from spark_cluster.serving.logs import unread

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
    from spark_cluster.actions import remedies
    from spark_cluster.core.error import StateUnknown

    if not reasons:
        return None
    return StateUnknown("; ".join(reasons), host=host, remedy=remedies.DOCKER)


def _unread(done: Completed, host: str) -> SparkError:
    """Why the script did not come to its end."""
    from spark_cluster.actions import remedies
    from spark_cluster.core.error import StateUnknown

    said = done.stderr.strip().rpartition("\n")[2] or f"nothing, and ended with {done.status}"
    what = f"docker says: {said}"
    if done.timed_out:
        what = f"docker did not give all its logs within {_SECONDS:.0f} s"
    return StateUnknown(what, host=host, remedy=remedies.DOCKER)


def _follow(session: Session, script: str, show: Callable[[LogLine], None]) -> bool:
    """Until every container has ended, or Ctrl-C."""
    import contextlib
    import functools
    import queue
    import time
    from concurrent.futures import wait

    from spark_cluster.core.error import SparkError
    from spark_cluster.serving.logs import WINDOW, Window, parse, unread

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
            _lose(session, {host.name: error})

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
        say("detached; the ranks run on", err=True)
    while not arrived.empty():
        window.add(arrived.get(), time.monotonic())
    for line in window.rest():
        show(line)
    return True
