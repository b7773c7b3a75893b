"""What a person sees of `bench llama-benchy`: its last line meanwhile, its table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spark_cluster.actions.bench_benchy import BenchyEnded, BenchySaid, BenchyStarted
from spark_cluster.bench.llama_benchy import TITLES, table
from spark_cluster.cli.output import View
from spark_cluster.core.event import Event
from spark_cluster.places import short
from spark_cluster.terminal.printing import Console


class BenchyView(View):
    """Shows a run as it goes."""

    def __init__(self) -> None:
        self._console = Console()

    def __call__(self, event: Event) -> None:
        match event:
            case BenchyStarted():
                self._console.line(f"llama-benchy of {event.model} at {event.endpoint}")
            case BenchySaid():
                self._console.spin(event.line)
            case BenchyEnded():
                self.flush()
                self._console.show(lines(event))

    def flush(self) -> None:
        """End the spinner, if there is one."""
        self._console.stop_spinning()


def lines(event: BenchyEnded) -> Iterator[str]:
    """A row a test, mean ± deviation; ours beside it."""
    rows = (TITLES, *table(event.rows))
    widths = [max(len(row[at]) for row in rows) for at in range(len(TITLES))]
    for row in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "  ".join((f"{row[0]:<{widths[0]}}", *cells))
    if event.exit_code:
        yield "It failed on the way: what it had stands above."
    yield f"results: {short(Path(event.file).absolute())}"
    if event.beside is None:
        yield "next: `spark-cluster bench sweep` with the same lengths, then --beside its file"
    elif not any(row.ours for row in event.rows):
        yield f"no level of {event.beside} has the same lengths and number of requests at once"
