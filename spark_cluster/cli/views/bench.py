"""What a person, or --json, sees of a benchmark: a row a level as it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.status import Status

from spark_cluster.bench.compare import Comparison
from spark_cluster.bench.plan import Settings, Step
from spark_cluster.bench.report import COMPARED, compared
from spark_cluster.bench.results import Level, Run, Server
from spark_cluster.bench.tables import BESIDE, COLUMNS, Column
from spark_cluster.cli.terminal import Console, say, say_json, styled
from spark_cluster.core.units import count
from spark_cluster.places import short

#: A column's least width, and that of the level's name.
_LEAST, _NAME = 7, 12


class View:
    """Prints as it goes."""

    def __init__(self, settings: Settings, *, beside: bool, as_json: bool) -> None:
        self._as_json = as_json
        self._columns = COLUMNS[settings.kind] + (BESIDE if beside else [])
        self._console = Console()
        self._status: Status | None = None

    def say(self, text: str) -> None:
        if not self._as_json:
            self._console.line(text)

    def begin(self, server: Server, settings: Settings, steps: Sequence[Step]) -> None:
        engine = " ".join(part for part in (server.owned_by, server.version) if part)
        names = ", ".join(step.name for step in steps)
        lengths = f"{count(settings.output_tokens, 'token')} to answer, times in s"
        self.say(f"{settings.kind} of {server.model} ({engine or 'engine unknown'})")
        self.say(f"  at {server.endpoint}: {names}; {lengths}")
        self.say(_line(self._columns, [column.title for column in self._columns]))

    def progress(self, step: Step, done: int, failed: int) -> None:
        if self._as_json or not self._console.is_terminal:
            return
        of = f" of {step.requests}" if step.requests else ""
        text = f"{step.name}: {done}{of} requests" + (f", {failed} failed" if failed else "")
        if self._status is None:
            self._status = self._console.spinner(text)
            self._status.start()
        self._status.update(styled(text))

    def note(self, text: str) -> None:
        if self._as_json:
            say_json({"kind": "note", "message": text})
        self.say(f"note: {text}")

    def finished(self, level: Level) -> None:
        self.stop()
        if self._as_json:
            say_json({"kind": "level", **level.model_dump(mode="json", exclude={"requests"})})
            return
        self.say(_line(self._columns, [column.cell(level) for column in self._columns]))
        for note in level.notes:
            self.say(f"  note: {note}")
        for error, number in level.summary.errors.items():
            self.say(f"  {number} failed: {error}")

    def stop(self) -> None:
        """End the spinner, if there is one."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def end(self, run: Run, path: Path, code: int) -> None:
        if self._as_json:
            say_json(
                {
                    "kind": "bench_finished",
                    "file": str(path),
                    "exit_code": code,
                    "interrupted": run.interrupted,
                    "notes": list(run.notes),
                }
            )
            return
        for note in run.notes:
            self.say(f"note: {note}")
        self.say(f"results: {short(path.absolute())}")
        if run.has_failures:
            self.say("Some requests failed: they are counted above and named in the file.")
            self.say("next: spark-cluster status and spark-cluster logs show the server's side")
        elif not code:
            self.say(f"next: spark-cluster bench report {short(path.absolute())}")


def _line(columns: Sequence[Column], cells: Sequence[str]) -> str:
    """The level's name to the left, numbers to the right, under their titles."""
    first = f"{cells[0]:<{_NAME}}"
    widths = [max(_LEAST, len(column.title)) for column in columns[1:]]
    rest = (f"{cell:>{width}}" for cell, width in zip(cells[1:], widths, strict=True))
    return "  ".join((first, *rest)).rstrip()


def show_comparison(comparison: Comparison, *, as_json: bool) -> None:
    """A row a figure, then what else differs."""
    if as_json:
        say_json(comparison.as_dict())
        return
    rows = compared(comparison)
    widths = [max(len(row[at]) for row in (COMPARED, *rows)) for at in range(len(COMPARED))]
    say(f"B {comparison.b}")
    say(f"A {comparison.a}")
    for row in (COMPARED, *rows):
        left = [f"{cell:<{width}}" for cell, width in zip(row[:2], widths, strict=False)]
        right = [f"{cell:>{width}}" for cell, width in zip(row[2:6], widths[2:], strict=False)]
        say("  ".join((*left, *right, row[6])))
    for note in comparison.notes:
        say(f"  {note}")
