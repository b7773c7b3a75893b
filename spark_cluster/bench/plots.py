"""The figures drawn, with matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_cluster.bench.results import Kind, Level, Run
from spark_cluster.core.error import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("svg", "png")

_AXES: dict[Kind, str] = {
    "sweep": "requests at once",
    "prefill": "tokens of the prompt",
    "image": "edge of the picture, pixels",
}


@dataclass(frozen=True)
class Panel:
    """One diagram: a title and lines, each with a name and a value of a level."""

    title: str
    lines: tuple[tuple[str, Callable[[Level], float | None]], ...]


def _of(name: str, share: str) -> Callable[[Level], float | None]:
    return lambda level: level.summary.share(name, share)


def _spread(title: str, name: str) -> Panel:
    return Panel(title, tuple((share, _of(name, share)) for share in ("p50", "p95")))


_OUTPUT = Panel(
    "answers, tokens per second", (("", lambda level: level.summary.output_per_second),)
)

_PANELS: dict[Kind, tuple[Panel, ...]] = {
    "sweep": (
        _OUTPUT,
        _spread("time to first token, s", "ttft"),
        _spread("latency, s", "latency"),
    ),
    "prefill": (
        Panel("prefill, tokens per second", (("", _of("prefill_per_second", "p50")),)),
        _spread("time to first token, s", "ttft"),
    ),
    "image": (
        Panel("pictures per second", (("", lambda level: level.summary.requests_per_second),)),
        _OUTPUT,
        _spread("latency, s", "latency"),
    ),
}


def draw(runs: Sequence[Run], path: Path) -> None:
    """The runs, all of one kind, over each other. The suffix of `path` says SVG or PNG.

    Raises InputError if matplotlib is not installed.
    """
    figure_type, ticker = _matplotlib()
    panels = _PANELS[runs[0].kind]
    figure = figure_type(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, panel, runs)
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    # Without a date and random ids, the same results give the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(path, metadata=metadata)


def _matplotlib() -> tuple[Any, Any]:
    try:
        import matplotlib
        from matplotlib import ticker
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            f"plots need matplotlib, which is not installed ({error})",
            remedy="`pipx inject spark-cluster matplotlib` (in a virtual environment: `pip install "
            "matplotlib`), or leave the plots out with --no-plots.",
        ) from error
    matplotlib.rcParams["svg.hashsalt"] = "spark-cluster"
    return Figure, ticker


def _panel(axes: Axes, panel: Panel, runs: Sequence[Run]) -> None:
    for number, run in enumerate(runs):
        for style, (name, value) in zip(("-", "--"), panel.lines, strict=False):
            points = [(level.value, y) for level in run.levels if (y := value(level)) is not None]
            label = " ".join(part for part in (run.run if len(runs) > 1 else "", name) if part)
            axes.plot(*_columns(points), style, marker="o", color=f"C{number}", label=label)
    values = sorted({level.value for run in runs for level in run.levels})
    axes.set_xscale("log", base=2)
    axes.set_xticks(values)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(_AXES[runs[0].kind])
    axes.set_title(panel.title)
    axes.grid(alpha=0.3)
    if len(runs) * len(panel.lines) > 1:
        axes.legend()


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
