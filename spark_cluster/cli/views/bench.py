"""What a person, or --json, sees of a benchmark: a row a level as it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from spark_cluster.actions.bench_kept import Begun, Counted, Finished, LevelEnded
from spark_cluster.actions.bench_report import Compared, Written
from spark_cluster.bench.report import COMPARED, compared
from spark_cluster.bench.results import Level
from spark_cluster.bench.tables import BESIDE, COLUMNS, Column
from spark_cluster.cli.output import View
from spark_cluster.core.event import Event, Note
from spark_cluster.core.units import count
from spark_cluster.places import short
from spark_cluster.terminal.printing import Console

#: A column's least width, and that of the level's name.
_LEAST, _NAME = 7, 12


class RunView(View):
    """Shows a run as it goes."""

    def __init__(self) -> None:
        self._columns: list[Column] = []
        self._console = Console()

    def __call__(self, event: Event) -> None:
        match event:
            case Begun():
                self._begun(event)
            case Counted():
                self._counted(event)
            case LevelEnded():
                self._ended(event.level)
            case Note():
                self._console.line(f"note: {event.message}")
            case Finished():
                self._finished(event)

    def flush(self) -> None:
        """End the spinner, if there is one."""
        self._console.stop_spinning()

    def _begun(self, event: Begun) -> None:
        server, settings = event.server, event.settings
        self._columns = COLUMNS[settings.kind] + (BESIDE if event.beside else [])
        engine = " ".join(part for part in (server.owned_by, server.version) if part)
        lengths = f"{count(settings.output_tokens, 'token')} to answer, times in s"
        self._console.line(f"{settings.kind} of {server.model} ({engine or 'engine unknown'})")
        self._console.line(f"  at {server.endpoint}: {', '.join(event.levels)}; {lengths}")
        self._console.line(_line(self._columns, [column.title for column in self._columns]))

    def _counted(self, event: Counted) -> None:
        of = f" of {event.requests}" if event.requests else ""
        text = f"{event.level}: {event.done}{of} requests"
        text += f", {event.failed} failed" if event.failed else ""
        self._console.spin(text)

    def _ended(self, level: Level) -> None:
        self.flush()
        self._console.line(_line(self._columns, [column.cell(level) for column in self._columns]))
        for note in level.notes:
            self._console.line(f"  note: {note}")
        for error, number in level.summary.errors.items():
            self._console.line(f"  {number} failed: {error}")

    def _finished(self, event: Finished) -> None:
        self.flush()
        file = short(Path(event.file).absolute())
        lines = [*(f"note: {note}" for note in event.notes), f"results: {file}"]
        if event.has_failures:
            lines.append("Some requests failed: they are counted above and named in the file.")
            lines.append("next: spark-cluster status and spark-cluster logs show the server's side")
        elif not event.exit_code:
            lines.append(f"next: spark-cluster bench report {file}")
        self._console.show(lines)


def _line(columns: Sequence[Column], cells: Sequence[str]) -> str:
    """The level's name to the left, numbers to the right, under their titles."""
    first = f"{cells[0]:<{_NAME}}"
    widths = [max(_LEAST, len(column.title)) for column in columns[1:]]
    rest = (f"{cell:>{width}}" for cell, width in zip(cells[1:], widths, strict=True))
    return "  ".join((first, *rest)).rstrip()


def comparison(found: Compared) -> Iterator[str]:
    """A row a figure, then what else differs."""
    rows = (COMPARED, *compared(found.comparison))
    widths = [max(len(row[at]) for row in rows) for at in range(len(COMPARED))]
    yield f"B {found.comparison.b}"
    yield f"A {found.comparison.a}"
    for row in rows:
        left = [f"{cell:<{width}}" for cell, width in zip(row[:2], widths, strict=False)]
        right = [f"{cell:>{width}}" for cell, width in zip(row[2:6], widths[2:], strict=False)]
        yield "  ".join((*left, *right, row[6]))
    yield from (f"  {note}" for note in found.comparison.notes)


def written(found: Written) -> Iterator[str]:
    """The files of a report."""
    yield from (f"wrote {short(Path(path).absolute())}" for path in found.written)
