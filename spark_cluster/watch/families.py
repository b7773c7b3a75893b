"""Prometheus metric families of ours: the engines', and those of the watcher's own findings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from spark_cluster.serving.metrics import Metrics
from spark_cluster.watch.detector import Condition
from spark_cluster.workload.served import Served

PREFIX = "spark_cluster"


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """A gauge of ours without samples."""
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)


def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    """A counter of ours without samples; their name ends in `_total`."""
    return CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels)


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
    """The serving engines' own numbers under one set of names, whichever version they are from, by
    the host of each head; what one does not say is left out. Prometheus scrapes vLLM itself, too;
    these are for a head that only the watcher reaches."""
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


@dataclass(frozen=True)
class Watching:
    """What the watcher found last. `restarts` counts since it was started. `launches` are what it
    judges (True), and what runs beside it."""

    conditions: tuple[Condition, ...] = ()
    restarts: int = 0
    paused: bool = False
    launches: tuple[tuple[Served, bool], ...] = ()


class WatchingCollector(Collector):
    """`watching` may be set from another thread."""

    def __init__(self) -> None:
        self.watching = Watching()

    def collect(self) -> Iterable[Metric]:
        watching = self.watching
        found = gauge(
            "condition",
            "1 for each condition that holds now.",
            *("condition", "host", "subject", "code", "severity"),
        )
        for each in watching.conditions:
            labels = [each.kind, each.host, each.subject, each.code, each.severity]
            found.add_metric(labels, 1)
        restarts = counter("restarts", "Restarts that the watcher began.")
        restarts.add_metric([], watching.restarts)
        paused = gauge("watch_paused", "1 while the watcher may not act.")
        paused.add_metric([], watching.paused)
        launches = gauge(
            "launch_watched",
            "1 for the launch that the watcher judges, 0 for one that runs beside it.",
            *("recipe", "host", "hosts"),
        )
        for launch, watched in watching.launches:
            launches.add_metric([launch.recipe, launch.host, ",".join(launch.hosts)], watched)
        return [found, restarts, paused, launches]
