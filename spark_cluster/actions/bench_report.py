"""`spark-cluster bench report`: the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypedDict

from spark_cluster.bench import plots
from spark_cluster.bench.compare import Comparison, compare
from spark_cluster.bench.files import holds_result, load
from spark_cluster.bench.report import comparison_markdown, markdown
from spark_cluster.bench.results import Kind, Run
from spark_cluster.core.error import InputError, StepFailed
from spark_cluster.core.event import Event


@dataclass(frozen=True)
class Written(Event):
    """The files of a report."""

    kind: str = field(default="report", init=False)
    written: tuple[str, ...]


class OfBenchmark(TypedDict):
    """Sweep, prefill or image."""

    benchmark: str


@dataclass(frozen=True)
class Compared(Event):
    """Two results beside each other: in JSON the comparison's own fields (bench/compare.py)."""

    kind: str = field(default="comparison", init=False)
    json_of: ClassVar[tuple[type, ...]] = (OfBenchmark, Comparison)
    comparison: Comparison

    def as_dict(self) -> dict[str, Any]:
        told = self.comparison.as_dict()
        return {**told, "benchmark": self.comparison.kind, "kind": self.kind}


def write(files: Sequence[Path], output: Path | None, form: str | None) -> Written:
    """Write the report and, with `form` svg or png, its plots beside it.

    Raises InputError for a file that is no result and for a target that is one, StepFailed if
    nothing can be written there.
    """
    if form is not None and form not in plots.FORMATS:
        raise InputError(
            f"--format {form}: not known", remedy=f"Choose {' or '.join(plots.FORMATS)}."
        )
    runs = [load(path) for path in files]
    target = output or files[0].with_suffix(".md")
    if holds_result(target):
        raise InputError(
            f"the report would replace the results in {target}",
            remedy="Name another file with --output, such as report.md.",
        )
    kinds = _by_kind(runs)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        drawn = _draw(kinds, target, form) if form else {}
        text = markdown(runs, {kind: path.name for kind, path in drawn.items()})
        for same in kinds.values():
            if len(same) == 2:
                text += "\n" + comparison_markdown(compare(*same))
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StepFailed(
            f"the report could not be written to {target}: {error.strerror}",
            remedy="Name another place with --output.",
        ) from error
    return Written(tuple(map(str, (target, *drawn.values()))))


def _by_kind(runs: Sequence[Run]) -> dict[Kind, list[Run]]:
    found: dict[Kind, list[Run]] = {}
    for run in runs:
        found.setdefault(run.kind, []).append(run)
    return found


def _draw(kinds: dict[Kind, list[Run]], target: Path, form: str) -> dict[str, Path]:
    drawn: dict[str, Path] = {}
    for kind, runs in kinds.items():
        path = target.with_name(f"{target.stem}-{kind}.{form}")
        plots.draw(runs, path)
        drawn[kind] = path
    return drawn
