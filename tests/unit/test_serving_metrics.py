"""Prometheus text and what it says of the engine."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.serving.metrics import (
    Metrics,
    Sample,
    generated,
    read,
    samples,
)

DATA = Path(__file__).parent / "data" / "vllm"


def test_vllm_0_32() -> None:
    found = read((DATA / "metrics-0.32-tp2.txt").read_text())
    assert (found.running, found.waiting, found.kv_cache_usage) == (0, 0, 0)
    assert (found.generation_tokens, found.prompt_tokens) == (72, 10)
    assert (found.prefix_cache_queries, found.prefix_cache_hits) == (10, 0)
    assert (found.requests_succeeded, found.ttft_count, found.itl_count) == (2, 2, 70)
    assert found.ttft_sum == pytest.approx(3.6467, abs=1e-4)


def test_old_names_and_awkward_lines() -> None:
    found = read((DATA / "metrics-0.10.txt").read_text())
    assert (found.running, found.waiting) == (4, 2)
    assert found.kv_cache_usage == 0.75
    assert found.generation_tokens == 1500
    assert found.prompt_tokens is None
    assert (found.itl_sum, found.itl_count) == (12.5, math.inf)


SGLANG = """\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m",tp_rank="0"} 3.0
sglang:num_queue_reqs{model_name="m",tp_rank="0"} 1.0
sglang:token_usage{model_name="m",tp_rank="0"} 0.28
sglang:prompt_tokens_total{model_name="m"} 8.128902e+06
sglang:generation_tokens_total{model_name="m"} 100.0
sglang:time_to_first_token_seconds_sum{model_name="m"} 2.5
sglang:time_to_first_token_seconds_count{model_name="m"} 5.0
"""


def test_sglang() -> None:
    """Made after SGLang's page "Production Metrics"."""
    found = read(SGLANG)
    assert (found.running, found.waiting, found.kv_cache_usage) == (3, 1, 0.28)
    assert (found.prompt_tokens, found.generation_tokens) == (8128902, 100)
    assert (found.ttft_sum, found.ttft_count) == (2.5, 5)


def test_sglang_counts_while_a_request_runs_where_it_can() -> None:
    running = SGLANG + (
        'sglang:realtime_tokens_total{mode="decode",model_name="m"} 180\n'
        'sglang:realtime_tokens_total{mode="prefill_compute",model_name="m"} 9000\n'
    )
    assert read(running).generation_tokens == 180


def test_labels_are_unescaped() -> None:
    (found,) = samples('x:y_z{a="1 } , \\"q\\" \\\\ \\n", b = "2",} -2.5e-3 17')
    assert found == Sample("x:y_z", {"a": '1 } , "q" \\ \n', "b": "2"}, -0.0025)


@pytest.mark.parametrize(
    "line", ["# HELP x", "", "x", "x{", 'x{a="1"', "x{a=1} 2", "x abc", "1x 2"]
)
def test_malformed_lines_are_passed_over(line: str) -> None:
    assert list(samples(line)) == []


def test_a_page_goes_on_after_what_is_no_line() -> None:
    """What prometheus_client's parser does not let pass, beside numbers of any length."""
    page = f'a 1\nb{{x=1}} 2\nc{{__x="y"}} 3\nd 4 junk\ne {"9" * 9000}\nvllm:num_requests_running 5'
    assert [(one.name, one.value) for one in samples(page)] == [
        ("a", 1), ("c", 3), ("d", 4), ("e", math.inf), ("vllm:num_requests_running", 5),
    ]  # fmt: skip
    assert read(page).running == 5


def test_a_line_of_a_million_labels_takes_a_moment() -> None:
    labels = ",".join(f'a{number}="1"' for number in range(1_000_000))
    started = time.monotonic()
    (found,) = samples(f"x{{{labels}}} 1")
    assert len(found.labels) == 1_000_000
    assert time.monotonic() - started < 60


NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]*", fullmatch=True)
LABELS = st.dictionaries(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]*", fullmatch=True), st.text())


def escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@given(NAMES, LABELS, st.floats(allow_nan=False))
def test_a_sample_is_read_back(name: str, labels: dict[str, str], value: float) -> None:
    inside = ",".join(f'{key}="{escape(text)}"' for key, text in labels.items())
    assert list(samples(f"{name}{{{inside}}} {value!r}")) == [Sample(name, labels, value)]


@given(st.text())
def test_any_text(text: str) -> None:
    read(text)
    list(samples(f'a{{b="{text}"}} 1'))


def test_generated() -> None:
    before = Metrics(running=2, generation_tokens=100)
    assert generated(before, replace(before, generation_tokens=164.0)) == 64
    assert generated(before, replace(before, generation_tokens=3.0)) is None
    assert generated(before, Metrics()) is None
    assert generated(Metrics(running=2), Metrics(running=2)) is None
