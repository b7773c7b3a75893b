"""What a person sees of a check of a server: a line a check as it ends."""

from __future__ import annotations

from rich.status import Status

from spark_cluster.actions.check import Checked, Checking, CheckReport, CheckStarted
from spark_cluster.cli.terminal import Console
from spark_cluster.core.event import Event, Note
from spark_cluster.core.units import count

_STYLES = {"ok": "green", "failed": "bold red", "skipped": "dim"}

#: Columns before what came: the result, the check, its seconds, its tokens.
_INDENT = " " * 45


class View:
    """Shows a check as it goes."""

    def __init__(self) -> None:
        self._console = Console()
        self._status: Status | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case CheckStarted():
                self._started(event)
            case Checking():
                self._checking(event)
            case Checked():
                self._checked(event)
            case Note():
                self._console.line(f"note: {event.message}")
            case CheckReport():
                self._finished(event)

    def flush(self) -> None:
        """End the spinner, if there is one."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _started(self, event: CheckStarted) -> None:
        self._console.line(
            ("check", "bold"), f" of {event.model} ({event.engine or 'engine unknown'})"
        )
        context = count(event.context, "token") if event.context else "unknown"
        recipe = f", recipe {event.recipe}" if event.recipe else ""
        self._console.line(f"  at {event.endpoint}{recipe}, context: {context}")

    def _checking(self, event: Checking) -> None:
        if self._console.is_terminal:
            self._status = self._console.spinner(event.check)
            self._status.start()

    def _checked(self, event: Checked) -> None:
        self.flush()
        asked = event.prompt_tokens or event.completion_tokens
        tokens = f"{event.prompt_tokens} in, {event.completion_tokens} out" if asked else ""
        self._console.line(
            (f"{event.result:<7}", _STYLES[event.result]),
            f"  {event.check:<9}  {event.seconds:>6.2f} s  {tokens:<16}  {event.what}",
        )
        if event.next:
            self._console.line(f"{_INDENT}next  {event.next}")

    def _finished(self, event: CheckReport) -> None:
        self.flush()
        told = ", ".join(f"{number} {word}" for word, number in event.counts.items() if number)
        self._console.line(("check", "bold"), f": {told}")
