"""Lines of logs, each with its rank and host; what is missing is told on standard error."""

from __future__ import annotations

from spark_cluster.actions.logs import Detached, Incomplete, LogTold
from spark_cluster.cli.output import View
from spark_cluster.cli.views.unknown import unknown
from spark_cluster.core.event import Event
from spark_cluster.terminal.printing import Console, say, say_json

_COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "bright_red", "bright_cyan", "white")


class LogView(View):
    """Shows lines as they come."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console()

    def __call__(self, event: Event) -> None:
        match event:
            case LogTold():
                self._line(event)
            case Incomplete():
                _missing(event)
            case Detached():
                say("detached; the ranks run on", err=True)

    def _line(self, event: LogTold) -> None:
        line = event.line
        if self._as_json:
            say_json(event.as_dict())
            return
        colour = _COLOURS[line.rank % len(_COLOURS)]
        where = f"{line.time[11:23]} rank {line.rank} {line.host}"
        self._console.log_line((where, colour), line.text)


def _missing(event: Incomplete) -> None:
    """Of which hosts there are no logs, or not all, and what to do next."""
    reasons = {name: error.message for name, error in event.errors.items()}
    remedies = {name: error.remedy for name, error in event.errors.items()}
    for line in unknown(reasons, remedies):
        say(line, err=True)
