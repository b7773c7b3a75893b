"""Prometheus metric families of ours, and those of the watcher's own findings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spark_cluster.watch.detector import Condition
from spark_cluster.workload.served import Served

PREFIX = "spark_cluster"


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """A gauge of ours without samples."""
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=labels)


def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    """A counter of ours without samples; their name ends in `_total`."""
    return CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels)


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
