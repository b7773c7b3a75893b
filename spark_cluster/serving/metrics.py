"""The engine's metrics, from Prometheus's text format; metrics.yaml has their names in vLLM and
SGLang. TensorRT-LLM counts no tokens there.

A reader of our own: prometheus_client's ends a page at the first line that it does not understand,
refuses labels that begin with `__` and lines with words after the value, and lets a whole number
through that no float can hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import RootModel

from spark_cluster.core.data_files import read_yaml
from spark_cluster.serving.api import Response

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


class _Names(RootModel[Mapping[str, tuple[str, ...]]]):
    """The names by field, the newest first."""


@cache
def _names() -> Mapping[str, tuple[str, ...]]:
    return read_yaml(_Names, "spark_cluster.serving", "metrics.yaml").root


def _key(sample: Sample) -> str:
    mode = sample.labels.get("mode")
    return f'{sample.name}{{mode="{mode}"}}' if mode else sample.name


def read(text: str) -> Metrics:
    """The metrics in a page of Prometheus text. NaN says nothing and is passed over."""
    found: dict[str, list[float]] = {}
    for sample in samples(text):
        if not math.isnan(sample.value):
            found.setdefault(_key(sample), []).append(sample.value)

    values: dict[str, Any] = {}
    for field, names in _names().items():
        first = next((found[name] for name in names if name in found), None)
        combine = max if field == "kv_cache_usage" else sum
        values[field] = None if first is None else combine(first)
    return Metrics(**values)


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
