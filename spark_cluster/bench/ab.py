"""Two ways to serve one recipe: which is better, by the comparison of their runs. Pure."""

from __future__ import annotations

from typing import Literal

from spark_cluster.bench.compare import OUTPUT, Comparison, Row

#: `depends`: B makes more tokens at one level and fewer at another. `noise`: no level tells.
Better = Literal["a", "b", "depends", "noise"]


def output_rows(comparison: Comparison) -> list[Row]:
    """The answers' tokens per second, a row a level: what decides."""
    return [row for row in comparison.rows if row.figure == OUTPUT.name]


def better(comparison: Comparison) -> Better:
    """The side that makes more tokens at some level and fewer at none, beyond noise."""
    said = {row.verdict for row in output_rows(comparison)}
    if {"better", "worse"} <= said:
        return "depends"
    if "better" in said:
        return "b"
    return "a" if "worse" in said else "noise"


def ratios(comparison: Comparison) -> str:
    """`c=1 0.990 (0.970-1.020), c=64 1.210 (1.150-1.270)`: B / A of the tokens per second."""
    return ", ".join(map(_ratio, output_rows(comparison)))


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return f"{row.level} unknown"
    interval = "" if row.low is None or row.high is None else f" ({row.low:.3f}-{row.high:.3f})"
    return f"{row.level} {row.ratio:.3f}{interval}"
