"""The serving engine's own numbers under one set of names, whichever version of it they are from.

Prometheus scrapes vLLM itself, too; these are for a head that only the watcher reaches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric, SummaryMetricFamily

from spark_cluster.serving.metrics import Metrics
from spark_cluster.watch.families import PREFIX, counter, gauge

_GAUGES = {
    "running": ("requests_running", "Requests that are being worked on."),
    "waiting": ("requests_waiting", "Requests that wait for their turn."),
    "kv_cache_usage": ("kv_cache_usage_ratio", "The KV cache in use, 0 to 1."),
}
_COUNTERS = {
    "generation_tokens": ("generation_tokens", "Tokens generated."),
    "prompt_tokens": ("prompt_tokens", "Prompt tokens read."),
    "prefix_cache_queries": ("prefix_cache_queries", "Tokens looked up in the prefix cache."),
    "prefix_cache_hits": ("prefix_cache_hits", "Tokens found in the prefix cache."),
    "preemptions": ("preemptions", "Requests that were set back for want of KV cache."),
    "requests_succeeded": ("requests_succeeded", "Requests that ended well."),
}
_SUMMARIES = {
    "ttft": ("time_to_first_token_seconds", "From a request to its first token."),
    "itl": ("inter_token_latency_seconds", "Between two tokens of a request."),
}


def engine_families(engines: Mapping[str, Metrics]) -> Iterator[Metric]:
    """The families of all engines, by the host of each head; what one does not say is left out."""
    up = gauge("engine_up", "Whether the engine gave its metrics.", "host")
    for host, metrics in engines.items():
        up.add_metric([host], not metrics.error)
    yield up
    for fields, make in ((_GAUGES, gauge), (_COUNTERS, counter)):
        for field, (name, text) in fields.items():
            family = make(f"engine_{name}", text, "host")
            for host, value in _known(engines, field):
                family.add_metric([host], value)
            yield family
    for field, (name, text) in _SUMMARIES.items():
        summary = SummaryMetricFamily(f"{PREFIX}_engine_{name}", text, labels=["host"])
        counts = dict(_known(engines, f"{field}_count"))
        for host, value in _known(engines, f"{field}_sum"):
            if host in counts:
                summary.add_metric([host], int(counts[host]), value)
        yield summary


def _known(engines: Mapping[str, Metrics], field: str) -> Iterator[tuple[str, float]]:
    for host, metrics in engines.items():
        value = getattr(metrics, field)
        if value is not None and math.isfinite(value):
            yield host, value
