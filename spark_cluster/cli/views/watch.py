"""What the watcher says, a line an event."""

from __future__ import annotations

from datetime import datetime

from spark_cluster.actions.restarting import RestartTold
from spark_cluster.actions.watch import Paused, Watching
from spark_cluster.actions.watch_service import Installed, Uninstalled
from spark_cluster.cli.output import Json
from spark_cluster.cli.terminal import say
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


class View:
    """Lines with the clock's time."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Watching):
            say(
                f"watching {', '.join(event.hosts)} every {event.interval:g} s; metrics on "
                f"{event.metrics}; Ctrl-C ends"
            )
        elif text := line(event):
            say(f"{datetime.now():%H:%M:%S}  {text}")

    def flush(self) -> None:
        """Nothing is held back."""


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


def paused(output: Json, done: Paused) -> None:
    output.json(done)
    does = "look on and do nothing; `watch --unpause` ends that" if done.paused else "act again"
    output.say(f"watchers of {done.user} on {done.host} {does}")


def installed(output: Json, unit: Installed) -> None:
    output.json(unit)
    output.say(f"{unit.path}: enabled and started")
    if unit.of_user:
        output.say("It ends with your last login unless you run: loginctl enable-linger")
    output.say("It has no SSH agent: the hosts must let it in with a key without a passphrase.")
    output.say(f"next: {unit.journal}")


def uninstalled(output: Json, unit: Uninstalled) -> None:
    output.json(unit)
    gone = f"{unit.path}: stopped and removed"
    output.say(gone if unit.was_there else f"{unit.path} is not there: nothing to remove")
