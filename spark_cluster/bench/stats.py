"""Percentiles, a level's summary, and how sure a ratio of two levels is. Pure."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import TypeVar

from spark_cluster.bench.results import Request, Spread, Summary

T = TypeVar("T")

#: Resamples of a bootstrap: each end of a 95 % interval then rests on 25 of them.
RESAMPLES = 1000

_FIGURES = ("ttft", "latency", "tpot", "prefill_per_second")

#: Fixed, so that the same two files always give the same interval.
_SEED = 20261121


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie, linearly between two neighbours, as
    numpy's default and so `vllm bench serve` has it. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def spread(values: Sequence[float]) -> Spread | None:
    """None for no values."""
    if not values:
        return None
    ordered = sorted(values)
    p50, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.95, 0.99))
    return Spread(p50=p50, p95=p95, p99=p99, mean=fmean(ordered))


def succeeded(requests: Sequence[Request]) -> list[Request]:
    return [request for request in requests if not request.error]


def figures(requests: Sequence[Request], name: str) -> list[float]:
    """A figure of each request that has it: `ttft`, `latency`, `tpot` or `prefill_per_second`."""
    return [value for request in requests if (value := getattr(request, name)) is not None]


def summarise(requests: Sequence[Request], seconds: float) -> Summary:
    """The figures of a level that took `seconds`."""
    good = succeeded(requests)
    prompt = sum(request.prompt_tokens for request in good)
    output = sum(request.output_tokens for request in good)
    per_second = 1 / seconds if seconds > 0 else 0.0
    return Summary(
        ok=len(good),
        failed=len(requests) - len(good),
        errors=dict(Counter(r.error for r in requests if r.error).most_common()),
        prompt_tokens=prompt,
        output_tokens=output,
        requests_per_second=len(good) * per_second,
        prompt_per_second=prompt * per_second,
        output_per_second=output * per_second,
        itl=spread([gap for request in good for gap in request.gaps]),
        **{name: spread(figures(good, name)) for name in _FIGURES},
    )


# How sure a ratio is


def waves(requests: Sequence[Request], concurrency: int) -> list[list[Request]]:
    """The requests in groups of those that ran beside each other, by their start.

    A server's batch makes them alike: a wave is the unit that repeats, not a request.
    """
    ordered = sorted(requests, key=lambda request: request.start)
    size = max(1, concurrency)
    return [ordered[at : at + size] for at in range(0, len(ordered), size)]


@dataclass(frozen=True)
class Interval:
    """A ratio and its 95 % interval; `waves` are those of the side that has fewer."""

    ratio: float
    low: float
    high: float
    waves: int

    @property
    def is_noise(self) -> bool:
        return self.low <= 1.0 <= self.high


def bootstrap_ratio(
    ours: Sequence[Sequence[T]],
    theirs: Sequence[Sequence[T]],
    statistic: Callable[[Sequence[T]], float],
    *,
    resamples: int = RESAMPLES,
    seed: int = _SEED,
) -> Interval | None:
    """`statistic` of `theirs` by that of `ours`, with its percentile bootstrap interval.

    Each side is given as waves: a resample draws waves, then what is in each, with replacement.
    The interval is widened for few waves (`tails`). None if a side is empty or its figure is 0.
    """
    ours, theirs = [wave for wave in ours if wave], [wave for wave in theirs if wave]
    if not ours or not theirs or not (base := statistic(_flat(ours))):
        return None
    draw = random.Random(seed)
    ratios = []
    for _ in range(resamples):
        below, above = statistic(_resample(draw, ours)), statistic(_resample(draw, theirs))
        if below:
            ratios.append(above / below)
    fewer = min(len(ours), len(theirs))
    low, high = (percentile(ratios, share) for share in tails(fewer))
    return Interval(statistic(_flat(theirs)) / base, low, high, fewer)


def tails(count: int) -> tuple[float, float]:
    """The shares between which the middle 95 % of a bootstrap of `count` units lie.

    Plain percentiles are too narrow for few units; these are widened as Student's t is wider than
    the normal distribution (Hesterberg, What Teachers Should Know About the Bootstrap, 2015: the
    expanded percentile interval).
    """
    if count < 2:
        return 0.0, 1.0
    wide = math.sqrt(count / (count - 1)) * _student(count - 1)
    share = NormalDist().cdf(-wide)
    return share, 1 - share


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's t, to 1 % from 3 degrees of freedom on (Abramowitz and Stegun,
    26.7.5)."""
    z = NormalDist().inv_cdf(0.975)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _flat(side: Sequence[Sequence[T]]) -> list[T]:
    return [item for wave in side for item in wave]


def _resample(draw: random.Random, side: Sequence[Sequence[T]]) -> list[T]:
    drawn: list[T] = []
    for wave in draw.choices(side, k=len(side)):
        drawn += draw.choices(wave, k=len(wave)) if len(wave) > 1 else wave
    return drawn
