"""The columns of a benchmark's table, the same on the console and in the report. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spark_cluster.bench.results import HostFigures, Kind, Level, Spread
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


def _of(name: str, share: str) -> Callable[[Level], float | None]:
    def get(level: Level) -> float | None:
        found: Spread | None = getattr(level.summary, name)
        return None if found is None else float(getattr(found, share))

    return get


def _times(title: str, name: str, *shares: str) -> list[Column]:
    def column(share: str) -> Column:
        get = _of(name, share)
        return Column(f"{title} {share}", lambda level: seconds(get(level)))

    return [column(share) for share in shares]


def _each(level: Level) -> str:
    """Tokens per second that one user sees, after the first."""
    tpot = level.summary.tpot
    return rate(1 / tpot.p50) if tpot and tpot.p50 else "-"


_LEVEL = Column("level", lambda level: level.name)
_COUNTS = [
    Column("ok", lambda level: str(level.summary.ok)),
    Column("failed", lambda level: str(level.summary.failed + level.unsent)),
]
_OUTPUT = Column("tok/s", lambda level: rate(level.summary.output_per_second))
_ALL = ("p50", "p95", "p99")

COLUMNS: dict[Kind, list[Column]] = {
    "sweep": [
        _LEVEL,
        *_COUNTS,
        _OUTPUT,
        Column("each tok/s", _each),
        *_times("TTFT", "ttft", *_ALL),
        *_times("ITL", "itl", *_ALL),
        *_times("latency", "latency", *_ALL),
    ],
    "prefill": [
        _LEVEL,
        *_COUNTS,
        Column("prefill tok/s", lambda level: rate(_of("prefill_per_second", "p50")(level))),
        *_times("TTFT", "ttft", *_ALL),
    ],
    "image": [
        _LEVEL,
        *_COUNTS,
        Column("images/s", lambda level: f"{level.summary.requests_per_second:.2f}"),
        Column("prompt tok/s", lambda level: rate(level.summary.prompt_per_second)),
        _OUTPUT,
        *_times("TTFT", "ttft", *_ALL),
        *_times("latency", "latency", *_ALL),
    ],
}

#: What is read beside a level.
BESIDE = [
    Column("RDMA/token", lambda level: moved(level)),
    Column("W", lambda level: watts(level)),
]


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
    means = [sum(host.watts) / len(host.watts) for host in level.hosts if host.watts]
    return f"{sum(means):.0f}" if means and len(means) == len(level.hosts) else "-"
