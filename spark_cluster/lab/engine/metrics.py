"""vLLM's /metrics, in the Prometheus text format; names and buckets of vLLM 0.11."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from .wire import Json

TTFT = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5]
TTFT += [10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0]
ITL = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5]
ITL += [10.0, 20.0, 40.0, 80.0]
LATENCY = [0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0]
LATENCY += [120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0]
ITERATION = [1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0]
ITERATION += [16384.0]

GAUGES = {
    "vllm:num_requests_running": "Number of requests in model execution batches.",
    "vllm:num_requests_waiting": "Number of requests waiting to be processed.",
    "vllm:kv_cache_usage_perc": "KV-cache usage. 1 means 100 percent usage.",
}
COUNTERS = {
    "vllm:prefix_cache_queries": "Prefix cache queries, in terms of number of queried tokens.",
    "vllm:prefix_cache_hits": "Prefix cache hits, in terms of number of cached tokens.",
    "vllm:num_preemptions": "Cumulative number of preemption from the engine.",
    "vllm:prompt_tokens": "Number of prefill tokens processed.",
    "vllm:generation_tokens": "Number of generation tokens processed.",
}
HISTOGRAMS: dict[str, tuple[str, list[float] | None]] = {
    "vllm:request_prompt_tokens": ("Number of prefill tokens processed.", None),
    "vllm:request_generation_tokens": ("Number of generation tokens processed.", None),
    "vllm:iteration_tokens_total": ("Histogram of number of tokens per engine_step.", ITERATION),
    "vllm:request_params_max_tokens": (
        "Histogram of the max_tokens request parameter.",
        None,
    ),
    "vllm:time_to_first_token_seconds": ("Histogram of time to first token in seconds.", TTFT),
    "vllm:inter_token_latency_seconds": ("Histogram of inter-token latency in seconds.", ITL),
    "vllm:time_per_output_token_seconds": (
        "Histogram of time per output token in seconds.DEPRECATED: Use "
        "vllm:inter_token_latency_seconds instead.",
        ITL,
    ),
    "vllm:e2e_request_latency_seconds": (
        "Histogram of e2e request latency in seconds.",
        LATENCY,
    ),
    "vllm:request_queue_time_seconds": (
        "Histogram of time spent in WAITING phase for request.",
        LATENCY,
    ),
    "vllm:request_inference_time_seconds": (
        "Histogram of time spent in RUNNING phase for request.",
        LATENCY,
    ),
    "vllm:request_prefill_time_seconds": (
        "Histogram of time spent in PREFILL phase for request.",
        LATENCY,
    ),
    "vllm:request_decode_time_seconds": (
        "Histogram of time spent in DECODE phase for request.",
        LATENCY,
    ),
}
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
        self._histograms = {
            name: Histogram(one_two_five(context) if buckets is None else buckets)
            for name, (_, buckets) in HISTOGRAMS.items()
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
                lines += _head(name, HISTOGRAMS[name][0], "histogram")
                lines += histogram.lines(name, self._labels)
                lines += self._born(name, HISTOGRAMS[name][0], [self._labels])
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
