"""What a person sees of `bench ab`: two launches, two measurements, and which is better."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spark_cluster.actions.bench_ab import AbEnded, SideMeasured, SideStarted
from spark_cluster.actions.bench_kept import Begun, Counted, Finished, LevelEnded
from spark_cluster.actions.bench_report import Compared
from spark_cluster.bench import ab
from spark_cluster.cli.output import View
from spark_cluster.cli.views.bench import RunView, comparison
from spark_cluster.cli.views.console import ConsoleView
from spark_cluster.core.event import Event
from spark_cluster.core.shell import quote
from spark_cluster.places import short
from spark_cluster.terminal.printing import Console

_BETTER: dict[ab.Better, str] = {
    "a": "A is better: the change costs tokens",
    "b": "B is better",
    "depends": "it depends on the number of concurrent requests",
    "noise": "no difference beyond noise",
}


class AbView(View):
    """Shows the runs as `launch` and `teardown` do, the measurements as `bench` does."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._run = ConsoleView(verbose=verbose)
        self._bench = RunView()
        self._console = Console()

    def __call__(self, event: Event) -> None:
        match event:
            case SideStarted():
                self.flush()
                self._console.line((f"{event.side}: {_said(event.words)}", "bold"))
            case Begun() | Counted() | LevelEnded() | Finished():
                self._run.flush()
                self._bench(event)
            case AbEnded():
                self.flush()
                self._console.show(lines(event))
            case _:
                self._run(event)

    def flush(self) -> None:
        self._bench.flush()
        self._run.flush()


def lines(event: AbEnded) -> Iterator[str]:
    """The figures beside each other, what decides, and what runs now."""
    yield from comparison(Compared(event.comparison))
    yield from map(_side, event.sides)
    yield f"{_BETTER[event.better]}: B / A of tok/s {ab.ratios(event.comparison)}"
    if event.kept and event.kept_file:
        yield f"kept: recipe {event.kept} in {short(Path(event.kept_file))}"
        yield f"next: spark-cluster launch {quote(event.kept)}"
    if event.not_kept:
        yield f"not kept: {event.not_kept}"
    down = f"`spark-cluster teardown {quote(event.recipe)}` takes it down"
    yield f"B serves on at {event.endpoint}: {down}"


def _side(side: SideMeasured) -> str:
    verdict = f"verdict {side.verdict}" if side.verdict else "no verdict"
    verdict += f" ({side.code})" if side.code else ""
    failed = ", some requests failed" if side.has_failures else ""
    file = short(Path(side.file).absolute())
    return f"{side.side} ({_said(side.words)}): {verdict}{failed}; results: {file}"


def _said(words: tuple[str, ...]) -> str:
    return " ".join(map(quote, words)) or "as the recipe is"
