"""The watcher's own findings as Prometheus metric families."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spark_cluster.monitor.exporter import PREFIX
from spark_cluster.monitor.judgement import Condition


@dataclass(frozen=True)
class Watching:
    """What the watcher found last. `restarts` counts since it was started."""

    conditions: tuple[Condition, ...] = ()
    restarts: int = 0
    paused: bool = False


class WatchingCollector(Collector):
    """`watching` may be set from another thread."""

    def __init__(self) -> None:
        self.watching = Watching()

    def collect(self) -> Iterable[Metric]:
        watching = self.watching
        found = GaugeMetricFamily(
            f"{PREFIX}_condition",
            "1 for each condition that holds now.",
            labels=("condition", "host", "subject", "code", "severity"),
        )
        for each in watching.conditions:
            labels = [each.kind, each.host, each.subject, each.code, each.severity]
            found.add_metric(labels, 1)
        restarts = CounterMetricFamily(f"{PREFIX}_restarts", "Restarts that the watcher began.")
        restarts.add_metric([], watching.restarts)
        paused = GaugeMetricFamily(f"{PREFIX}_watch_paused", "1 while the watcher may not act.")
        paused.add_metric([], watching.paused)
        return [found, restarts, paused]
