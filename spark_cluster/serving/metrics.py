"""The engine's metrics, from Prometheus's text format. Names of vLLM 0.10 to 0.33, and of SGLang's
page "Production Metrics". TensorRT-LLM counts no tokens there.

A reader of our own: prometheus_client's ends a page at the first line that it does not understand,
refuses labels that begin with `__` and lines with words after the value, and lets a whole number
through that no float can hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spark_cluster.serving.api import Response, response

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
_END = re.compile(r"\s*\}")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|(?=\}))', re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z", re.ASCII)
_SPECIAL = {"nan": math.nan, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Sample:
    """One line: a name, its labels, a value (NaN and infinities included)."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Metrics:
    """What the server says of its work; None where it does not say.

    Requests and tokens are added up over engines and models; the KV cache's use (0 to 1) is that of
    the fullest. Times in seconds: sums and counts of the histograms since the start. Without a
    page, `error` says why; `status` is HTTP's where a server answered at all, else 0.
    """

    running: float | None = None
    waiting: float | None = None
    generation_tokens: float | None = None
    prompt_tokens: float | None = None
    kv_cache_usage: float | None = None
    prefix_cache_queries: float | None = None
    prefix_cache_hits: float | None = None
    preemptions: float | None = None
    requests_succeeded: float | None = None
    ttft_sum: float | None = None
    ttft_count: float | None = None
    itl_sum: float | None = None
    itl_count: float | None = None
    error: str = ""
    status: int = 0


def _value(text: str) -> float | None:
    special = _SPECIAL.get(text.lower())
    if special is not None:
        return special
    return float(text) if _NUMBER.match(text) else None


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], text)


def _labels(line: str, start: int) -> tuple[dict[str, str], int] | None:
    """The labels from the brace at `start`, and where they end; None if they are malformed."""
    labels: dict[str, str] = {}
    position = start + 1
    while not (end := _END.match(line, position)):
        found = _LABEL.match(line, position)
        if not found:
            return None
        labels[found[1]] = _unescape(found[2])
        position = found.end()
    return labels, end.end()


def _sample(line: str) -> Sample | None:
    name = _NAME.match(line)
    if not name:
        return None
    labels: dict[str, str] = {}
    end = name.end()
    if line[end:].lstrip().startswith("{"):
        read = _labels(line, line.index("{", end))
        if read is None:
            return None
        labels, end = read
    words = line[end:].split()
    value = _value(words[0]) if words else None
    return None if value is None else Sample(name[0], labels, value)


def samples(text: str) -> Iterator[Sample]:
    """The samples in `text`, in order; comments and malformed lines are passed over."""
    for raw in text.split("\n"):
        line = raw.strip()
        if line and not line.startswith("#"):
            found = _sample(line)
            if found:
                yield found


#: Field -> the names it goes by, the newest first. Old in vLLM: `gpu_cache_usage_perc` (gone in
#: 0.12), `time_per_output_token_seconds` (gone in 0.15.1). SGLang's `generation_tokens_total` grows
#: only when a request ends, `realtime_tokens_total` while it runs.
_NAMES: dict[str, tuple[str, ...]] = {
    "running": ("vllm:num_requests_running", "sglang:num_running_reqs"),
    "waiting": ("vllm:num_requests_waiting", "sglang:num_queue_reqs"),
    "generation_tokens": (
        "vllm:generation_tokens_total",
        "vllm:generation_tokens",
        'sglang:realtime_tokens_total{mode="decode"}',
        "sglang:generation_tokens_total",
    ),
    "prompt_tokens": (
        "vllm:prompt_tokens_total",
        "vllm:prompt_tokens",
        "sglang:prompt_tokens_total",
    ),
    "kv_cache_usage": (
        "vllm:kv_cache_usage_perc",
        "vllm:gpu_cache_usage_perc",
        "sglang:token_usage",
    ),
    "prefix_cache_queries": (
        "vllm:prefix_cache_queries_total",
        "vllm:gpu_prefix_cache_queries_total",
    ),
    "prefix_cache_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "preemptions": ("vllm:num_preemptions_total", "vllm:num_preemptions"),
    "requests_succeeded": ("vllm:request_success_total", "vllm:request_success"),
    "ttft_sum": ("vllm:time_to_first_token_seconds_sum", "sglang:time_to_first_token_seconds_sum"),
    "ttft_count": (
        "vllm:time_to_first_token_seconds_count",
        "sglang:time_to_first_token_seconds_count",
    ),
    "itl_sum": (
        "vllm:inter_token_latency_seconds_sum",
        "vllm:time_per_output_token_seconds_sum",
        "sglang:inter_token_latency_seconds_sum",
    ),
    "itl_count": (
        "vllm:inter_token_latency_seconds_count",
        "vllm:time_per_output_token_seconds_count",
        "sglang:inter_token_latency_seconds_count",
    ),
}


def _key(sample: Sample) -> str:
    mode = sample.labels.get("mode")
    return f'{sample.name}{{mode="{mode}"}}' if mode else sample.name


def read(text: str) -> Metrics:
    """The metrics in a page of Prometheus text. NaN says nothing and is passed over."""
    found: dict[str, list[float]] = {}
    for sample in samples(text):
        if not math.isnan(sample.value):
            found.setdefault(_key(sample), []).append(sample.value)

    def value(field: str) -> float | None:
        for name in _NAMES[field]:
            if name in found:
                return max(found[name]) if field == "kv_cache_usage" else sum(found[name])
        return None

    values: dict[str, Any] = {field: value(field) for field in _NAMES}
    return Metrics(**values)


def parse_metrics(text: str) -> Metrics:
    """What `api.metrics_script` printed; `error` if the server gave no page."""
    return of_page(response(text))


def of_page(page: Response) -> Metrics:
    """What a server answered to the question for its metrics."""
    if page.ok:
        return read(page.body)
    error = f"HTTP {page.status}" if page.status else page.error
    return Metrics(error=error, status=page.status or 0)


def _grown(first: float | None, second: float | None) -> int | None:
    if first is None or second is None or not math.isfinite(second - first) or second < first:
        return None
    return round(second - first)


def generated(before: Metrics, after: Metrics) -> int | None:
    """Tokens generated between two readings; None if unknown or if the server was restarted."""
    return _grown(before.generation_tokens, after.generation_tokens)


def prompted(before: Metrics, after: Metrics) -> int | None:
    """Prompt tokens read between two readings; None if unknown or if the server was restarted."""
    return _grown(before.prompt_tokens, after.prompt_tokens)


def stuck(before: Metrics, after: Metrics) -> bool:
    """Whether requests run in both readings and no token came between them: a wedge.

    The readings must be further apart than the longest prefill, which yields no token either.
    """
    busy = bool(before.running and after.running)
    return busy and generated(before, after) == 0
