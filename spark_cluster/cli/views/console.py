"""What a person sees of a run. Colour underlines the words; the words alone say everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spark_cluster.cli.output import View
from spark_cluster.cli.views import closing, told
from spark_cluster.core.event import (
    Event,
    Guarded,
    HostConnected,
    HostLost,
    Note,
    Progress,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
    as_json,
)
from spark_cluster.core.units import human_seconds
from spark_cluster.places import short
from spark_cluster.terminal.printing import Console, say_json

_STYLES = {
    "ok": "green",
    "changed": "yellow",
    "skipped": "dim",
    "failed": "bold red",
    "unreachable": "bold red",
    "unknown": "bold magenta",
}


class JsonLines(View):
    """`--json`: one object a line, as it happens."""

    def __call__(self, event: Event) -> None:
        if not event.passing:
            say_json(as_json(event))


class ConsoleView(View):
    """Lines for a person; hosts with the same outcome of a step share a line."""

    def __init__(self, *, verbose: bool = False, console: Console | None = None) -> None:
        self.console = console or Console()
        self._verbose = verbose
        self._connected: list[HostConnected] = []
        self._step: StepStarted | None = None
        self._finished: list[StepFinished] = []
        self._waiting: dict[tuple[str, str], str] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                self._started(event)
            case HostConnected():
                self._connected.append(event)
            case StepStarted():
                self.flush()
                self._step = event
                self.console.spin(event.title)
            case StepFinished():
                self._finished.append(event)
            case Progress():
                self._progress(event)
            case Guarded():
                self._line("guard", event.host, f"{event.state}: {event.message}")
            case Note():
                self._line("note", event.host or "", event.message)
            case HostLost():
                self._line("unreachable", event.host, event.error.message, "bold red")
            case RunFinished():
                self.flush()
                self._ended(event)
            case _:
                self._told(event)

    def _told(self, event: Event) -> None:
        """What an action tells beside its run."""
        shown = list(told.lines(event, verbose=self._verbose))
        if shown:
            self.flush()
        self.console.show(shown)

    def _started(self, event: RunStarted) -> None:
        what = event.verb + (f" {event.recipe}" if event.recipe else "")
        self.console.line(
            (what, "bold"),
            f" on {', '.join(event.hosts)}  ",
            (f"run {event.run}, inventory {short(Path(event.inventory))}", "dim"),
        )
        if event.note:
            self.console.line(f"  {event.note}")

    def _progress(self, event: Progress) -> None:
        said = f"{event.message} ({human_seconds(event.seconds)})"
        if self.console.is_spinning:
            self.console.spin(f"{event.host}: {said}")
        elif self._waiting.get((event.host, event.step)) != event.message:
            self._line("waiting", event.host, said)
        self._waiting[(event.host, event.step)] = event.message

    def _line(self, word: str, host: str, said: str, style: str = "dim") -> None:
        self.console.line("  ", (f"{word:<11}", style), f" {host:<10} {said}")

    def flush(self) -> None:
        """Print what the step that just ended has to say."""
        self.console.stop_spinning()
        if self._connected:
            hosts = ", ".join(
                f"{event.host} {human_seconds(event.seconds)}" for event in self._connected
            )
            self.console.line("  ", ("connected", "dim"), f"   {hosts}")
            self._connected = []
        for group in _groups(self._finished):
            self._outcome(group)
        self._finished = []
        self._step = None

    def _outcome(self, group: Sequence[StepFinished]) -> None:
        first = group[0]
        hosts = ", ".join(event.host for event in group)
        style = _STYLES.get(first.status, "")
        seconds = max(event.seconds for event in group)
        took = f" ({human_seconds(seconds)})" if seconds >= 1 else ""
        self.console.line(
            "  ", (f"{first.status:<11}", style), " ", (first.title, "bold"), f"  {hosts}{took}"
        )
        shown = first.details
        if not shown and first.summary and (self._verbose or first.status not in ("ok", "skipped")):
            shown = (first.summary,)
        elif self._verbose and first.summary:
            shown = (first.summary, *first.details)
        for line in shown:
            self.console.line(f"                {line}")
        if first.error is not None:
            if first.error.stderr:
                for line in first.error.stderr.rstrip("\n").split("\n"):
                    self.console.line(f"                | {line}")
            self.console.line(f"                next: {first.error.remedy}")
            code = first.error.code
            if code and not any(code in line for line in shown):
                self.console.line(f"                more: spark-cluster explain {code}")

    def _ended(self, event: RunFinished) -> None:
        if "plan" in event.data:
            return  # the plan itself is shown
        counts = ", ".join(f"{count} {status}" for status, count in event.counts.items() if count)
        took = human_seconds(event.seconds)
        self.console.line((event.verb, "bold"), f": {counts or 'nothing to do'}  ", (took, "dim"))
        self.console.show(closing.lines(event))


def _groups(events: Sequence[StepFinished]) -> list[list[StepFinished]]:
    """Events with the same outcome in the same words, in order of their first."""
    groups: dict[tuple[object, ...], list[StepFinished]] = {}
    for event in events:
        remedy = event.error.remedy if event.error else ""
        plain = event.status in ("ok", "skipped") and not event.details
        key = (event.step, event.status, "" if plain else event.summary, event.details, remedy)
        groups.setdefault(key, []).append(event)
    return list(groups.values())
