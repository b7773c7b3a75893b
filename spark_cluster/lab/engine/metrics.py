"""vLLM's /metrics, in the Prometheus text format; names and buckets of vLLM 0.11."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from .tables import read_json
from .wire import Json

_TABLE = read_json("metrics.json")
GAUGES: dict[str, str] = _TABLE["gauges"]
COUNTERS: dict[str, str] = _TABLE["counters"]
HISTOGRAMS: dict[str, tuple[str, str]] = _TABLE["histograms"]
"""Each with the name of its buckets, `context` for those that the context length makes."""
BUCKETS: dict[str, list[float]] = _TABLE["buckets"]
REASONS = ("stop", "length", "abort")


def one_two_five(limit: int) -> list[float]:
    """1, 2, 5, 10, 20, 50 … up to the context length."""
    found: list[float] = []
    factor = 1
    while True:
        for step in (1, 2, 5):
            if step * factor > limit:
                return found
            found.append(float(step * factor))
        factor *= 10


def number(value: float) -> str:
    """A float as prometheus_client prints it: 16.0, 1.7952138662343028e+09."""
    text = repr(float(value))
    if "e" not in text and abs(value) >= 1e9:
        digits = text.rstrip("0").rstrip(".").replace(".", "")
        exponent = len(text.split(".")[0]) - 1
        return f"{digits[0]}.{digits[1:] or '0'}e+{exponent:02d}"
    return text


class Histogram:
    """Counts per bucket, count and sum."""

    def __init__(self, buckets: Sequence[float]) -> None:
        self.buckets = [*buckets, float("inf")]
        self.counts = [0] * len(self.buckets)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Add a value."""
        self.sum += value * times
        for index, bound in enumerate(self.buckets):
            if value <= bound:
                self.counts[index] += times
                return

    def lines(self, name: str, labels: str) -> list[str]:
        """The sample lines; `le` stands in alphabetical order between the labels."""
        head, _, tail = labels.partition(",model_name")
        found: list[str] = []
        total = 0
        for bound, count in zip(self.buckets, self.counts, strict=True):
            total += count
            le = "+Inf" if bound == float("inf") else number(bound)
            found.append(f'{name}_bucket{{{head},le="{le}",model_name{tail}}} {number(total)}')
        found.append(f"{name}_count{{{labels}}} {number(total)}")
        found.append(f"{name}_sum{{{labels}}} {number(self.sum)}")
        return found


class Metrics:
    """All the numbers of one server."""

    def __init__(self, model: str, context: int, config: Json) -> None:
        self._labels = f'engine="0",model_name="{model}"'
        self._model = model
        self._config = config
        self._created = time.time()
        self._lock = threading.Lock()
        self._gauges = dict.fromkeys(GAUGES, 0.0)
        self._counters = dict.fromkeys(COUNTERS, 0.0)
        self._success = dict.fromkeys(REASONS, 0.0)
        self._http: dict[tuple[str, str, str], int] = {}
        buckets = {**BUCKETS, "context": one_two_five(context)}
        self._histograms = {
            name: Histogram(buckets[kind]) for name, (kind, _) in HISTOGRAMS.items()
        }

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._gauges[f"vllm:{name}"] = value

    def count(self, name: str, value: float = 1.0) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[f"vllm:{name}"] += value

    def observe(self, name: str, value: float) -> None:
        """Add a value to a histogram."""
        with self._lock:
            self._histograms[f"vllm:{name}"].observe(value)

    def success(self, reason: str) -> None:
        """A request ended."""
        with self._lock:
            self._success[reason] += 1

    def http(self, method: str, path: str, status: int) -> None:
        """An answered request."""
        with self._lock:
            key = (path, method, f"{status // 100}xx")
            self._http[key] = self._http.get(key, 0) + 1

    def value(self, name: str) -> float:
        """The present value of a gauge or counter."""
        with self._lock:
            name = f"vllm:{name}"
            return self._gauges.get(name, self._counters.get(name, 0.0))

    def text(self) -> str:
        """The page."""
        with self._lock:
            lines: list[str] = []
            for name, value in self._gauges.items():
                lines += _head(name, GAUGES[name], "gauge")
                lines.append(f"{name}{{{self._labels}}} {number(value)}")
            for name, value in self._counters.items():
                lines += self._counter(name, COUNTERS[name], {self._labels: value})
            lines += self._counter(
                "vllm:request_success",
                "Count of successfully processed requests.",
                {
                    f'engine="0",finished_reason="{reason}",model_name="{self._model}"': value
                    for reason, value in self._success.items()
                },
            )
            for name, histogram in self._histograms.items():
                lines += _head(name, HISTOGRAMS[name][1], "histogram")
                lines += histogram.lines(name, self._labels)
                lines += self._born(name, HISTOGRAMS[name][1], [self._labels])
            lines += self._cache_config()
            lines += self._counter(
                "http_requests",
                "Total number of requests by method, status and handler.",
                {
                    f'handler="{path}",method="{method}",status="{status}"': float(value)
                    for (path, method, status), value in self._http.items()
                },
            )
        return "\n".join(lines) + "\n"

    def _born(self, name: str, text: str, labels: Sequence[str]) -> list[str]:
        created = number(self._created)
        return [
            *_head(f"{name}_created", text, "gauge"),
            *(f"{name}_created{{{item}}} {created}" for item in labels),
        ]

    def _counter(self, name: str, text: str, values: dict[str, float]) -> list[str]:
        return [
            *_head(f"{name}_total", text, "counter"),
            *(f"{name}_total{{{labels}}} {number(value)}" for labels, value in values.items()),
            *self._born(name, text, list(values)),
        ]

    def _cache_config(self) -> list[str]:
        name = "vllm:cache_config_info"
        labels = ",".join(f'{key}="{value}"' for key, value in sorted(self._config.items()))
        return [
            *_head(name, "Information of the LLMEngine CacheConfig", "gauge"),
            f"{name}{{{labels}}} 1.0",
        ]


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
