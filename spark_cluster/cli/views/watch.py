"""What the watcher says, a line an event."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from spark_cluster.actions.restarting import event as parsed
from spark_cluster.actions.watch import Paused, Watching
from spark_cluster.actions.watch_service import Installed
from spark_cluster.cli.terminal import say
from spark_cluster.core.event import Alarmed, Event, HostLost, Note


class View:
    """Lines with the clock's time."""

    def __call__(self, event: Event) -> None:
        match event:
            case Watching():
                say(
                    f"watching {', '.join(event.hosts)} every {event.interval:g} s; metrics on "
                    f"{event.metrics}; Ctrl-C ends"
                )
                return
            case Alarmed():
                text = f"{event.phase} {event.severity} {event.condition} {event.code}: "
                text += f"{event.host}: {event.what}"
            case HostLost():
                text = f"{event.host} is lost: {event.error.message}"
            case Note():
                text = ": ".join(part for part in (event.host, event.message) if part)
            case _:
                return
        say(f"{datetime.now():%H:%M:%S}  {text}")

    def flush(self) -> None:
        """Nothing is held back."""


def restart_lines(*, as_json: bool) -> Callable[[str], None]:
    """What a restart says, among the watcher's lines."""
    view = View()

    def show(line: str) -> None:
        if as_json:
            say(line)
        elif text := told(line):
            view(Note(text))

    return show


def told(line: str) -> str:
    """The line for a person; empty if it says nothing that matters here."""
    found = parsed(line)
    match found.get("kind"):
        case "run_started":
            return f"{found['verb']} on {', '.join(found['hosts'])}, run {found['run']}"
        case "step_finished" if found["status"] not in ("ok", "skipped"):
            what = "; ".join(found["details"]) or found["summary"]
            return f"{found['host']}: {found['title']}: {found['status']}: {what}"
        case "note" | "progress":
            return ": ".join(part for part in (found.get("host"), found["message"]) if part)
        case "host_lost" | "error":
            error = found["error"]
            return f"error: {error['message']}; next: {error['remedy']}"
        case "run_finished":
            return f"{found['verb']} ended with exit code {found['exit_code']}"
    return "" if found else line


def paused(done: Paused) -> None:
    whom = f"watchers of {done.user} on {done.host}"
    does = "look on and do nothing; `watch --unpause` ends that" if done.paused else "act again"
    say(f"{whom} {does}")


def installed(unit: Installed) -> None:
    say(f"{unit.path}: enabled and started")
    if unit.of_user:
        say("It ends with your last login unless you run: loginctl enable-linger")
    say("It has no SSH agent: the hosts must let it in with a key without a passphrase.")
    say(f"next: {unit.journal}")


def uninstalled(path: Path, was_there: bool) -> None:
    say(f"{path}: stopped and removed" if was_there else f"{path} is not there: nothing to remove")
