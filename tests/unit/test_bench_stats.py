"""Percentiles, summaries, and intervals that mean what they say."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.bench import stats
from spark_cluster.bench.results import Request


def request(start: float = 0.0, **fields: object) -> Request:
    given: dict[str, object] = {"ttft": 0.5, "latency": 2.5, "prompt_tokens": 100}
    given |= {"output_tokens": 5, "gaps": (0.5, 0.5, 0.5, 0.5)}
    return Request.model_validate({"start": start, **given, **fields})


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_percentiles_are_those_of_the_standard_library(values: list[float]) -> None:
    hundredths = statistics.quantiles(values, n=100, method="inclusive")
    for share in (50, 95, 99):
        expected = hundredths[share - 1]
        assert stats.percentile(values, share / 100) == pytest.approx(expected, abs=1e-6)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        stats.percentile([], 0.5)
    assert stats.spread([]) is None


def test_a_summary() -> None:
    requests = [
        request(),
        request(latency=4.5, gaps=(1.0,) * 4),
        request(error="HTTP 429: busy", ttft=None, latency=None, output_tokens=0, gaps=()),
        request(error="HTTP 429: busy", ttft=None, latency=None, output_tokens=0, gaps=()),
        request(error="stalled", latency=90.0, output_tokens=2),
    ]
    found = stats.summarise(requests, 10.0)
    assert (found.ok, found.failed) == (2, 3)
    assert found.errors == {"HTTP 429: busy": 2, "stalled": 1}
    assert (found.prompt_tokens, found.output_tokens) == (200, 10)
    assert (found.requests_per_second, found.output_per_second) == (0.2, 1.0)
    assert found.prompt_per_second == 20.0
    assert found.latency is not None
    assert (found.latency.p50, found.latency.mean) == (3.5, 3.5)
    assert found.tpot is not None
    assert found.tpot.p50 == 0.75  # (2.5 - 0.5) / 4 and (4.5 - 0.5) / 4
    assert found.itl is not None
    assert found.itl.p50 == 0.75
    assert found.prefill_per_second is not None
    assert found.prefill_per_second.p50 == 200.0


def test_a_level_in_which_nothing_succeeded_has_no_times() -> None:
    found = stats.summarise([request(error="connection refused", ttft=None, latency=None)], 3.0)
    assert (found.ok, found.failed, found.output_per_second) == (0, 1, 0.0)
    assert found.ttft is found.latency is found.tpot is found.itl is None


def test_one_token_has_no_time_per_token() -> None:
    assert request(output_tokens=1, gaps=()).tpot is None
    assert request(ttft=None).prefill_per_second is None


def test_waves_are_those_that_ran_beside_each_other() -> None:
    requests = [request(start) for start in (5.0, 1.0, 0.0, 4.0, 9.0)]
    starts = [[item.start for item in wave] for wave in stats.waves(requests, 2)]
    assert starts == [[0.0, 1.0], [4.0, 5.0], [9.0]]


# Intervals


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def test_a_side_against_itself_is_noise() -> None:
    side = [[1.0, 2.0], [3.0, 4.0], [2.0, 2.5], [1.5, 3.0]]
    found = stats.bootstrap_ratio(side, side, mean)
    assert found is not None
    assert (found.ratio, found.is_noise, found.waves) == (1.0, True, 4)


def test_twice_as_much_is_more_than_noise() -> None:
    side = [[1.0 + 0.01 * number] for number in range(10)]
    found = stats.bootstrap_ratio(side, [[2 * wave[0]] for wave in side], mean)
    assert found is not None
    assert found.ratio == pytest.approx(2.0)
    assert 1.9 < found.low < 2.0 < found.high < 2.1
    assert not found.is_noise


def test_the_same_files_give_the_same_interval() -> None:
    side = [[1.0, 1.5], [1.2, 1.9], [0.9, 1.3], [1.1, 1.4]]
    other = [[2.0, 1.4], [1.6, 1.2], [1.9, 1.1], [1.3, 1.8]]
    assert stats.bootstrap_ratio(side, other, mean) == stats.bootstrap_ratio(side, other, mean)
    changed = stats.bootstrap_ratio(side, other, mean, seed=1)
    assert changed != stats.bootstrap_ratio(side, other, mean, seed=2)


@pytest.mark.parametrize(("ours", "theirs"), [([], [[1.0]]), ([[1.0]], [[]]), ([[0.0]], [[1.0]])])
def test_no_ratio_without_figures(ours: list[list[float]], theirs: list[list[float]]) -> None:
    assert stats.bootstrap_ratio(ours, theirs, mean) is None


def test_waves_that_differ_make_the_interval_wider_than_their_requests_do() -> None:
    """64 requests in 4 waves are 4 independent looks, not 64."""
    draw = random.Random(3)
    levels = [1.0, 1.3, 0.8, 1.1]
    clustered = [[level + draw.gauss(0, 0.01) for _ in range(16)] for level in levels]
    loose = [[value] for wave in clustered for value in wave]
    wide = stats.bootstrap_ratio(clustered, clustered, mean)
    narrow = stats.bootstrap_ratio(loose, loose, mean)
    assert wide is not None
    assert narrow is not None
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.parametrize("size", [1, 8])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(size: int) -> None:
    """Eight waves from one distribution on both sides: 1 must lie inside in about 95 of 100."""
    draw = random.Random(11)

    def side() -> list[list[float]]:
        middles = [draw.lognormvariate(0, 0.2) for _ in range(8)]
        return [[middle * draw.lognormvariate(0, 0.05) for _ in range(size)] for middle in middles]

    found = [stats.bootstrap_ratio(side(), side(), mean, resamples=300) for _ in range(150)]
    inside = sum(interval.is_noise for interval in found if interval is not None)
    assert 0.90 <= inside / 150 <= 1.0


@pytest.mark.parametrize(("count", "student"), [(4, 3.182), (5, 2.776), (10, 2.262), (30, 2.045)])
def test_few_waves_widen_the_interval_as_student_does(count: int, student: float) -> None:
    """The table of Student's t, 97.5 %."""
    low, high = stats.tails(count)
    wide = (count / (count - 1)) ** 0.5 * student
    assert statistics.NormalDist().cdf(-wide) == pytest.approx(low, rel=0.12)
    assert low + high == pytest.approx(1.0)


def test_one_wave_gives_the_widest_interval() -> None:
    assert stats.tails(1) == (0.0, 1.0)
