"""What a person sees of a check of a server: a line a check as it ends."""

from __future__ import annotations

from spark_cluster.actions.check import Checked, Checking, CheckReport, CheckStarted
from spark_cluster.cli.output import View
from spark_cluster.core.event import Event, Note
from spark_cluster.core.units import count
from spark_cluster.terminal.printing import Console

_STYLES = {"ok": "green", "failed": "bold red", "skipped": "dim"}

#: Columns before what came: the result, the check, its seconds, its tokens.
_INDENT = " " * 49


class CheckView(View):
    """Shows a check as it goes."""

    def __init__(self) -> None:
        self._console = Console()

    def __call__(self, event: Event) -> None:
        match event:
            case CheckStarted():
                self._started(event)
            case Checking():
                self._console.spin(event.check)
            case Checked():
                self._checked(event)
            case Note():
                self._console.line(f"note: {event.message}")
            case CheckReport():
                told = [f"{number} {word}" for word, number in event.counts.items() if number]
                self._console.line(("check", "bold"), f": {', '.join(told)}")

    def flush(self) -> None:
        """End the spinner, if there is one."""
        self._console.stop_spinning()

    def _started(self, event: CheckStarted) -> None:
        self._console.line(
            ("check", "bold"), f" of {event.model} ({event.engine or 'engine unknown'})"
        )
        context = count(event.context, "token") if event.context else "unknown"
        recipe = f", recipe {event.recipe}" if event.recipe else ""
        self._console.line(f"  at {event.endpoint}{recipe}, context: {context}")

    def _checked(self, event: Checked) -> None:
        self.flush()
        asked = event.prompt_tokens or event.completion_tokens
        tokens = f"{event.prompt_tokens} in, {event.completion_tokens} out" if asked else ""
        self._console.line(
            (f"{event.result:<7}", _STYLES[event.result]),
            f"  {event.check:<9}  {event.seconds:>6.2f} s  {tokens:<20}  {event.what}",
        )
        if event.next:
            self._console.line(f"{_INDENT}next: {event.next}")
