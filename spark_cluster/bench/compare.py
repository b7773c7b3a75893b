"""Two runs side by side: each figure's ratio, and whether it is more than noise. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from spark_cluster.bench import stats
from spark_cluster.bench.results import Kind, Level, Request, Run, Summary
from spark_cluster.core.error import InputError
from spark_cluster.core.labels import LABEL

Verdict = Literal["better", "worse", "within noise", "too few", "unknown"]

#: Fewer waves than that say nothing of how much a level scatters.
LEAST_WAVES = 4

#: Of fewer requests none lies beyond the 95th percentile, and its interval is too narrow: two equal
#: levels of 8 to 16 differ in 6 to 8 of 100 cases, from 20 on in 3 to 5.
LEAST_FOR_TAIL = 20


@dataclass(frozen=True)
class Figure:
    """What is compared: its unit, whether more is better, and where a summary has it.

    `of` names what a summary has of it: with a `share` a spread over the requests' figures, without
    one a rate of tokens or requests (`amount` of a request) per second.
    """

    name: str
    unit: str
    more_is_better: bool
    of: str
    share: float | None = None
    amount: Callable[[Request], float] = lambda _: 1.0

    def value(self, summary: Summary) -> float | None:
        if self.share is not None:
            return summary.share(self.of, f"p{self.share * 100:.0f}")
        rate: float = getattr(summary, self.of)
        return rate


OUTPUT = Figure(
    "output", "tok/s", True, "output_per_second", amount=lambda r: float(r.output_tokens)
)
REQUESTS = Figure("requests", "1/s", True, "requests_per_second")
TTFT = Figure("TTFT p50", "s", False, "ttft", 0.5)
TTFT_TAIL = Figure("TTFT p95", "s", False, "ttft", 0.95)
TPOT = Figure("TPOT p50", "s", False, "tpot", 0.5)
LATENCY = Figure("latency p50", "s", False, "latency", 0.5)
LATENCY_TAIL = Figure("latency p95", "s", False, "latency", 0.95)
PREFILL = Figure("prefill p50", "tok/s", True, "prefill_per_second", 0.5)

FIGURES: dict[Kind, tuple[Figure, ...]] = {
    "sweep": (OUTPUT, TTFT, TTFT_TAIL, TPOT, LATENCY, LATENCY_TAIL),
    "prefill": (PREFILL, TTFT),
    "image": (REQUESTS, OUTPUT, TTFT, LATENCY),
}


@dataclass(frozen=True)
class Row:
    """`ratio` is B by A with its 95 % interval; None where it is not known."""

    level: str
    figure: str
    unit: str
    a: float | None
    b: float | None
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """`notes` say what keeps the two from being equal in all but what was meant to differ."""

    a: str
    b: str
    kind: Kind
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(a: Run, b: Run) -> Comparison:
    """B against A, over the levels that both have. Raises InputError if they have none."""
    if a.kind != b.kind:
        raise InputError(
            f"one is a {a.kind}, the other a {b.kind}",
            remedy="Compare two files of the same benchmark.",
        )
    theirs = {level.name: level for level in b.levels}
    both = [(level, theirs[level.name]) for level in a.levels if level.name in theirs]
    if not both:
        raise InputError(
            f"no level is in both: {_names(a)} against {_names(b)}",
            remedy="Run them with the same --levels, --lengths or --resolutions.",
        )
    rows = [_row(one, other, figure) for one, other in both for figure in FIGURES[a.kind]]
    return Comparison(a.title, b.title, a.kind, tuple(rows), tuple(_notes(a, b, both)))


def _names(run: Run) -> str:
    return ", ".join(level.name for level in run.levels) or "no level"


def _row(a: Level, b: Level, figure: Figure) -> Row:
    first, second = figure.value(a.summary), figure.value(b.summary)
    ratio = second / first if first and second is not None else None
    interval = _interval(a, b, figure)
    return Row(
        a.name,
        figure.name,
        figure.unit,
        first,
        second,
        ratio,
        interval.low if interval else None,
        interval.high if interval else None,
        _verdict(interval, figure, min(a.summary.ok, b.summary.ok)),
    )


def _verdict(interval: stats.Interval | None, figure: Figure, requests: int) -> Verdict:
    if interval is None:
        return "unknown"
    is_tail = figure.share is not None and figure.share > 0.5
    if interval.waves < LEAST_WAVES or (is_tail and requests < LEAST_FOR_TAIL):
        return "too few"
    if interval.is_noise:
        return "within noise"
    return "better" if (interval.ratio > 1) == figure.more_is_better else "worse"


def _waves(level: Level) -> list[list[Request]]:
    return stats.waves(stats.succeeded(level.requests), level.concurrency)


def _interval(a: Level, b: Level, figure: Figure) -> stats.Interval | None:
    """Of a percentile over the requests; or of a rate of the level: what its requests gave, by the
    time that they took, times how many ran at once on average."""
    share = figure.share
    if share is None:
        return stats.bootstrap_ratio(_parts(a, figure), _parts(b, figure), _quotient)
    ours, theirs = ([stats.figures(wave, figure.of) for wave in _waves(each)] for each in (a, b))
    return stats.bootstrap_ratio(ours, theirs, lambda values: stats.percentile(values, share))


def _parts(level: Level, figure: Figure) -> list[list[tuple[float, float]]]:
    """Of each request what it gave and the time that it took. The number of those that ran at once
    is the level's own and is not resampled."""
    waves = _waves(level)
    taken = sum(request.latency or 0.0 for wave in waves for request in wave)
    at_once = taken / level.seconds if level.seconds else 0.0
    return [
        [(figure.amount(request) * at_once, request.latency or 0.0) for request in wave]
        for wave in waves
    ]


def _quotient(pairs: Sequence[tuple[float, float]]) -> float:
    taken = sum(pair[1] for pair in pairs)
    return sum(pair[0] for pair in pairs) / taken if taken else 0.0


def _label(name: str) -> Callable[[Run], str | None]:
    """Of the head's container; what was not chosen at the launch has no label."""
    return lambda run: (
        run.deployment.get("labels", {}).get(f"{LABEL}.{name}") or "none"
        if run.deployment
        else None
    )


#: What served, as far as the results know.
_DEPLOYED: Mapping[str, Callable[[Run], Any]] = {
    "recipe": lambda run: run.deployment.get("recipe"),
    "profile": _label("profile"),
    "options": _label("options"),
    "hosts": lambda run: ", ".join(map(str, run.deployment.get("hosts", ()))),
    "image": lambda run: run.recipe.get("image"),
}


def _notes(a: Run, b: Run, both: Sequence[tuple[Level, Level]]) -> list[str]:
    shared = {level.name for level, _ in both}
    notes = []
    for side, run in (("A", a), ("B", b)):
        alone = [level.name for level in run.levels if level.name not in shared]
        notes += [f"only in {side}: {', '.join(alone)}"] if alone else []
    pairs = {
        "tool": (a.tool, b.tool),
        "model": (a.server.model, b.server.model),
        "engine version": (a.server.version, b.server.version),
        **{name: (of(a), of(b)) for name, of in _DEPLOYED.items()},
        **{
            name: (a.arguments.get(name), b.arguments.get(name))
            for name in ("input_tokens", "output_tokens", "seed")
        },
        **{f"{one.name} concurrency": (one.concurrency, other.concurrency) for one, other in both},
    }
    notes += [
        f"differs: {name}: {one} in A, {other} in B"
        for name, (one, other) in pairs.items()
        if one != other and "" not in (one, other) and None not in (one, other)
    ]
    for side, levels in zip(("A", "B"), zip(*both, strict=True), strict=True):
        notes += [
            f"{side} {level.name}: {level.summary.failed} requests failed, their times are not in"
            for level in levels
            if level.summary.failed
        ]
    return notes
