"""What the watcher says, a line an event."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from spark_cluster.actions.restarting import RestartTold
from spark_cluster.actions.watch import Paused, Watching
from spark_cluster.actions.watch_service import Installed, Uninstalled
from spark_cluster.cli.output import View
from spark_cluster.core.event import (
    Alarmed,
    Event,
    Failed,
    HostLost,
    Note,
    Progress,
    RunFinished,
    RunStarted,
    StepFinished,
)
from spark_cluster.terminal.printing import say


class WatchView(View):
    """Lines with the clock's time."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Watching):
            say(
                f"watching {', '.join(event.hosts)} every {event.interval:g} s; metrics on "
                f"{event.metrics}; Ctrl-C ends"
            )
        elif text := line(event):
            say(f"{datetime.now():%H:%M:%S}  {text}")


def line(event: Event) -> str:
    """Empty for what says nothing to a person."""
    match event:
        case Alarmed():
            what = f"{event.phase} {event.severity} {event.condition} {event.code}"
            return f"{what}: {event.host}: {event.what}"
        case HostLost():
            return f"{event.host} is lost: {event.error.message}"
        case Note():
            return _said(event)
        case RestartTold():
            return _of_restart(event.event)
    return ""


def _of_restart(event: Event | None) -> str:
    match event:
        case RunStarted():
            return f"{event.verb} on {', '.join(event.hosts)}, run {event.run}"
        case StepFinished() if event.status not in ("ok", "skipped"):
            what = "; ".join(event.details) or event.summary
            return f"{event.host}: {event.title}: {event.status}: {what}"
        case Note() | Progress():
            return _said(event)
        case HostLost() | Failed():
            return f"error: {event.error.message}; next: {event.error.remedy}"
        case RunFinished():
            return f"{event.verb} ended with exit code {event.exit_code}"
    return ""


def _said(event: Note | Progress) -> str:
    return ": ".join(part for part in (event.host, event.message) if part)


def paused(done: Paused) -> Iterator[str]:
    does = "look on and do nothing; `watch --unpause` ends that" if done.paused else "act again"
    yield f"watchers of {done.user} on {done.host} {does}"


def installed(unit: Installed) -> Iterator[str]:
    yield f"{unit.path}: enabled and started"
    if unit.of_user:
        yield "It ends with your last login unless you run: loginctl enable-linger"
    yield "It has no SSH agent: the hosts must let it in with a key without a passphrase."
    yield f"next: {unit.journal}"


def uninstalled(unit: Uninstalled) -> Iterator[str]:
    gone = f"{unit.path}: stopped and removed"
    yield gone if unit.was_there else f"{unit.path} is not there: nothing to remove"
