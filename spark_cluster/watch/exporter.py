"""Our exporter: readings of the hosts in, Prometheus metric families out.

It exports what no other exporter has: the RDMA hw_counters (node_exporter leaves them out), the
rails that the inventory names, the age of the RDMA verdict; and memory, swap and the GPU for hosts
without node_exporter or dcgm-exporter. Names and units follow Prometheus' conventions: base units,
counters end in `_total`.

The watcher reads `FACTS` of each host, puts what it knows into a `Snapshot`, and gives it to a
`SnapshotCollector` that prometheus_client serves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import get_args

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from spark_cluster.core.version import __version__
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.links import LINKS
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.rdma import COUNTERS
from spark_cluster.inventory.models import Inventory, Rail
from spark_cluster.rdma.counter_names import ERROR_COUNTERS
from spark_cluster.rdma.counters import RdmaCounters
from spark_cluster.rdma.verdict import Kind
from spark_cluster.runner.last_verdict import LastVerdict
from spark_cluster.serving.metrics import Metrics
from spark_cluster.watch.families import counter, engine_families, gauge

#: What the exporter wants to know of each host.
FACTS: tuple[Fact[object], ...] = (COUNTERS, LINKS, MEMORY, SWAP, GPU_STATE)

#: Files in hw_counters/ that are settings, not counts.
_SETTINGS = frozenset({"lifespan"})


@dataclass(frozen=True)
class Snapshot:
    """What the watcher knows. A host that did not answer is None in `hosts`; `engines` are by the
    host of the head. `read_at` in seconds since the epoch."""

    inventory: Inventory
    hosts: Mapping[str, Facts | None]
    read_at: float
    engines: Mapping[str, Metrics] = field(default_factory=dict)
    verdict: LastVerdict | None = None


class SnapshotCollector(Collector):
    """The newest snapshot, whenever it is asked. `snapshot` may be set from another thread."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.snapshot: Snapshot | None = None
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        snapshot = self.snapshot
        return [] if snapshot is None else families(snapshot, self._clock())


def families(snapshot: Snapshot, now: float) -> list[Metric]:
    """Every metric family of the snapshot; `now` in seconds since the epoch, for ages."""
    read = {name: facts for name, facts in snapshot.hosts.items() if facts is not None}
    found = [
        *_watcher(snapshot),
        *_memory(read),
        *_rails(read, snapshot.inventory),
        *_devices(read),
        *_gpus(read),
        *engine_families(snapshot.engines),
        *_verdict(snapshot.verdict, now),
    ]
    return [family for family in found if family.samples]


def _watcher(snapshot: Snapshot) -> Iterator[Metric]:
    build = gauge("build_info", "The version of spark-cluster that exports this.", "version")
    build.add_metric([__version__], 1)
    yield build
    read = gauge("read_timestamp_seconds", "When the hosts were last read.")
    read.add_metric([], snapshot.read_at)
    yield read
    up = gauge("host_up", "Whether the host answered the last reading.", "host")
    for name, facts in snapshot.hosts.items():
        up.add_metric([name], facts is not None)
    yield up


def _memory(read: Mapping[str, Facts]) -> Iterator[Metric]:
    total = gauge("memory_bytes", "Memory that CPU and GPU share.", "host")
    available = gauge("memory_available_bytes", "MemAvailable of /proc/meminfo.", "host")
    cache = gauge("page_cache_droppable_bytes", "Page cache that can be given back.", "host")
    swap = gauge("swap_bytes", "Size of the active swap; 0 if it is off.", "host")
    for name, facts in read.items():
        memory, swaps = facts.get(MEMORY), facts.get(SWAP)
        if memory is not None and memory.total:
            total.add_metric([name], memory.total)
            available.add_metric([name], memory.available)
            cache.add_metric([name], memory.droppable)
        if swaps is not None and swaps.read:
            swap.add_metric([name], sum(swaps.active.values()))
    yield from (total, available, cache, swap)


def _rails(read: Mapping[str, Facts], inventory: Inventory) -> Iterator[Metric]:
    labels = ("host", "interface", "device")
    up = gauge("rail_up", "Whether the rail has a carrier and an ACTIVE RDMA port.", *labels)
    mtu = gauge("rail_mtu_bytes", "MTU of the rail's interface.", *labels)
    for name, facts in read.items():
        for rail in inventory.hosts[name].rails:
            words = [name, rail.interface, rail.device]
            state = rail_up(facts, rail)
            if state is not None:
                up.add_metric(words, state)
            link = facts[LINKS].links.get(rail.interface) if LINKS in facts else None
            if link is not None:
                mtu.add_metric(words, link.mtu)
    yield from (up, mtu)


def rail_up(facts: Facts, rail: Rail) -> bool | None:
    """Whether the rail has a carrier and an ACTIVE port. None if neither the interfaces nor the
    devices of the host were read."""
    links, counters = facts.get(LINKS), facts.get(COUNTERS)
    if links is None or counters is None or not links.links or not counters.devices:
        return None
    link, device = links.links.get(rail.interface), counters.devices.get(rail.device)
    return bool(link and link.carrier and device and device.state == "ACTIVE")


def _devices(read: Mapping[str, Facts]) -> Iterator[Metric]:
    labels = ("host", "device")
    traffic = {
        "xmit_bytes": counter("rdma_transmit_bytes", "Bytes sent by RDMA.", *labels),
        "rcv_bytes": counter("rdma_receive_bytes", "Bytes received by RDMA.", *labels),
        "xmit_packets": counter("rdma_transmit_packets", "Packets sent by RDMA.", *labels),
        "rcv_packets": counter("rdma_receive_packets", "Packets received by RDMA.", *labels),
    }
    every = counter(
        "rdma_counter",
        "Each file in counters/ and hw_counters/, as the driver has it; severity is what its "
        "growth means: fail, warn, benign, or none if it is no error counter.",
        *(*labels, "counter", "source", "severity", "loss"),
    )
    for name, facts in read.items():
        counters = facts.get(COUNTERS)
        for device in counters.devices.values() if counters is not None else ():
            if not device.present:
                continue
            for attribute, family in traffic.items():
                value = getattr(device, attribute)
                if value is not None:
                    family.add_metric([name, device.device], value)
            for words, number in _raw(device):
                every.add_metric([name, device.device, *words], number)
    yield from (*traffic.values(), every)


def _raw(device: RdmaCounters) -> Iterator[tuple[list[str], int]]:
    """Each counter's name, folder, severity and whether it counts losses; its value."""
    for key, value in device.raw.items():
        source, _, name = key.partition("/")
        if name in _SETTINGS:
            continue
        known = ERROR_COUNTERS.get(name)
        severity = known.severity.value if known else "none"
        loss = "yes" if known is not None and known.loss else "no"
        yield [name, source, severity, loss], value


#: Of the GPU's state: the gauge, what it is, and its unit by the state's.
_GPU = {
    "sm_mhz": ("gpu_sm_clock_hertz", "SM clock.", 1e6),
    "max_sm_mhz": ("gpu_sm_clock_max_hertz", "Highest SM clock.", 1e6),
    "watts": ("gpu_power_watts", "Power drawn by the GPU.", 1.0),
    "utilization": ("gpu_utilization_ratio", "Time with a kernel on the GPU, 0 to 1.", 0.01),
    "celsius": ("gpu_temperature_celsius", "The GPU's temperature.", 1.0),
    "reasons": ("gpu_clock_reasons", "NVML's bit mask of why clocks are held back.", 1.0),
}


def _gpus(read: Mapping[str, Facts]) -> Iterator[Metric]:
    for attribute, (name, text, factor) in _GPU.items():
        family = gauge(name, text, "host")
        for host, facts in read.items():
            value = getattr(facts.get(GPU_STATE), attribute, None)
            if value is not None:
                family.add_metric([host], value * factor)
        yield family


def _verdict(verdict: LastVerdict | None, now: float) -> Iterator[Metric]:
    kind = gauge("rdma_verdict", "1 for the kind of the newest RDMA verdict.", "kind", "recipe")
    age = gauge("rdma_verdict_age_seconds", "Seconds since the newest RDMA verdict.", "recipe")
    if verdict is not None:
        for name in get_args(Kind):
            kind.add_metric([name, verdict.recipe], name == verdict.kind)
        age.add_metric([verdict.recipe], max(0.0, now - verdict.when.timestamp()))
    yield from (kind, age)
