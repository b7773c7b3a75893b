"""The columns of a benchmark's table, the same on the console and in the report. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from spark_cluster.bench.results import HostFigures, Kind, Level
from spark_cluster.core.units import human_bytes


@dataclass(frozen=True)
class Column:
    title: str
    cell: Callable[[Level], str]


def seconds(value: float | None) -> str:
    """`0.213`, `28.3`: three digits that say something."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def rate(value: float | None) -> str:
    """`6.7`, `1,064`: per second."""
    if value is None:
        return "-"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _times(title: str, name: str) -> list[Column]:
    def column(share: str) -> Column:
        return Column(f"{title} {share}", lambda level: seconds(level.summary.share(name, share)))

    return [column(share) for share in ("p50", "p95", "p99")]


def _each(level: Level) -> str:
    """Tokens per second that one user sees, after the first."""
    tpot = level.summary.tpot
    return rate(1 / tpot.p50) if tpot and tpot.p50 else "-"


_COUNTS = [
    Column("level", lambda level: level.name),
    Column("ok", lambda level: str(level.summary.ok)),
    Column("failed", lambda level: str(level.summary.failed + level.unsent)),
]
_OUTPUT = Column("tok/s", lambda level: rate(level.summary.output_per_second))

COLUMNS: dict[Kind, list[Column]] = {
    "sweep": [
        *_COUNTS,
        _OUTPUT,
        Column("each tok/s", _each),
        *_times("TTFT", "ttft"),
        *_times("ITL", "itl"),
        *_times("latency", "latency"),
    ],
    "prefill": [
        *_COUNTS,
        Column(
            "prefill tok/s", lambda level: rate(level.summary.share("prefill_per_second", "p50"))
        ),
        *_times("TTFT", "ttft"),
    ],
    "image": [
        *_COUNTS,
        Column("images/s", lambda level: f"{level.summary.requests_per_second:.2f}"),
        Column("prompt tok/s", lambda level: rate(level.summary.prompt_per_second)),
        _OUTPUT,
        *_times("TTFT", "ttft"),
        *_times("latency", "latency"),
    ],
}


def amount(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    return human_bytes(value) if unit == "B" else f"{value:,.0f} pkt"


def moved(level: Level) -> str:
    """What a token made the busiest rank send, over all its rails."""
    sent = [_sent(host) for host in level.hosts]
    known = [(value, unit) for value, unit in sent if value is not None]
    if len(known) < len(sent) or not known:
        return "-" if not any(host.rails for host in level.hosts) else "unknown"
    return amount(*max(known))


def _sent(host: HostFigures) -> tuple[float | None, str]:
    values = [rail.tx_per_token for rail in host.rails]
    units = {rail.unit for rail in host.rails}
    if not values or len(units) > 1 or any(value is None for value in values):
        return None, ""
    return sum(value for value in values if value is not None), units.pop()


def watts(level: Level) -> str:
    """The GPUs' mean power together; `-` if not every host told it."""
    means = [fmean(host.watts) for host in level.hosts if host.watts]
    return f"{sum(means):.0f}" if means and len(means) == len(level.hosts) else "-"


#: What is read beside a level.
BESIDE = [Column("RDMA/token", moved), Column("W", watts)]
