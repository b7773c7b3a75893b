"""What `status` says of each host, from two readings of it. Pure."""

from __future__ import annotations

from typing import Any

from spark_cluster.facts.base import Fact, Facts
from spark_cluster.facts.clock import CLOCK
from spark_cluster.facts.cpu import CPU
from spark_cluster.facts.docker import CONTAINERS, Container
from spark_cluster.facts.ended import SERVER_END
from spark_cluster.facts.engine import ENGINE
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.lock import LOCK
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.rdma import COUNTERS
from spark_cluster.facts.supervisor import SUPERVISOR, SupervisorFact
from spark_cluster.inventory.models import Host
from spark_cluster.rdma import deltas
from spark_cluster.rdma.counter_names import Severity, severity
from spark_cluster.rdma.deltas import CounterDelta
from spark_cluster.serving import metrics
from spark_cluster.serving.metrics import Metrics
from spark_cluster.workload.served import ended_in

#: What a refresh reads; its rates come from the refresh before.
FACTS = (
    HOST, CONTAINERS, SERVER_END, MEMORY, SWAP, GPU, GPU_STATE, CPU, CLOCK, LOCK, COUNTERS, ENGINE,
    SUPERVISOR,
)  # fmt: skip

_COUNTERS_FIRST = Fact("counters-first", COUNTERS.script, COUNTERS.parse)
_ENGINE_FIRST = Fact("engine-first", ENGINE.script, ENGINE.parse)
_GAP = Fact("gap", lambda _: "sleep 1", lambda _: None)

#: One look: what moves is read twice within the one exec, a second and more apart.
TWICE = (_COUNTERS_FIRST, _ENGINE_FIRST, _GAP, *FACTS)


def before_of(facts: Facts) -> Facts:
    """The first of the two readings that TWICE made."""
    return Facts({COUNTERS.name: facts.get(_COUNTERS_FIRST), ENGINE.name: facts.get(_ENGINE_FIRST)})


def unknown(name: str, reason: str, remedy: str) -> dict[str, Any]:
    return {"host": name, "state": "unknown", "reason": reason, "remedy": remedy}


def row(host: Host, before: Facts | None, now: Facts) -> dict[str, Any]:
    """A host that answered. Bytes, seconds, W, MHz, percent of the GPU; None is unknown, as every
    rate is without a first reading."""
    first = before or Facts()
    gpu, state, memory, swap = now[GPU], now[GPU_STATE], now[MEMORY], now[SWAP]
    counters = first.get(COUNTERS)
    delta = deltas.delta(counters, now[COUNTERS]) if counters is not None else None
    seconds = delta.seconds if delta is not None else None
    engine = now[ENGINE]
    epoch = now[CLOCK].epoch
    return {
        "host": host.name,
        "state": "up",
        "boot_id": now[HOST].boot_id,
        "uptime_seconds": now[COUNTERS].uptime,
        "load": list(now[CPU].load),
        "cores": now[CPU].cores,
        "memory_available": memory.available,
        "memory_total": memory.total,
        "swap": list(swap.active),
        "swap_bytes": sum(swap.active.values()),
        "gpu": list(gpu.names),
        "gpu_processes": [process.name for process in gpu.processes],
        "gpu_utilization": state.utilization,
        "gpu_watts": state.watts,
        "gpu_sm_mhz": state.sm_mhz,
        "gpu_max_sm_mhz": state.max_sm_mhz,
        "gpu_celsius": state.celsius,
        "rails": [_rail(rail.interface, rail.device, now, delta) for rail in host.rails],
        "containers": [_container(each, now, epoch) for each in now[CONTAINERS].containers],
        "docker_error": "; ".join(filter(None, (now[CONTAINERS].error, *now[CONTAINERS].unread))),
        "healthy": engine.healthy,
        "endpoint": None
        if engine.healthy is None
        else endpoint(_metrics(first), engine.metrics, seconds),
        "restarts_at_boot": _supervisor(now[SUPERVISOR]),
        "lock": now[LOCK].run,
        "files_lock": now[LOCK].files,
    }


def _rail(interface: str, device: str, now: Facts, delta: CounterDelta | None) -> dict[str, Any]:
    """`unit` is what the rates count: B, or packets where the driver counts no bytes."""
    there = now[COUNTERS].devices.get(device)
    change = delta.devices.get(device) if delta is not None else None
    seconds = delta.seconds if delta is not None else None
    unit = "packets" if there is not None and there.source == "packets" else "B"
    sent, received = None, None
    if change is not None:
        by_packet = (change.xmit_packets, change.rcv_packets)
        by_byte = (change.xmit_bytes, change.rcv_bytes)
        sent, received = by_packet if unit == "packets" else by_byte
    return {
        "interface": interface,
        "device": device,
        "state": there.state or "unknown" if there is not None and there.present else "absent",
        "rate": there.rate if there is not None else "",
        "unit": unit,
        "tx_per_second": _rate(sent, seconds),
        "rx_per_second": _rate(received, seconds),
        "errors": _grave(there.errors) if there is not None else {},
        "errors_grown": _grave(change.errors) if change is not None else {},
    }


def _grave(errors: dict[str, int]) -> dict[str, int]:
    """Those that are above zero and not benign."""
    return {
        name: value
        for name, value in errors.items()
        if value and severity(name) is not Severity.BENIGN
    }


def _container(container: Container, now: Facts, epoch: float | None) -> dict[str, Any]:
    uptime = container.uptime(epoch)
    end = ended_in(container, now)
    return {
        "name": container.name,
        "state": container.state,
        "exit_code": container.exit_code,
        "recipe": container.label("recipe"),
        "rank": container.label("rank"),
        "run": container.label("run"),
        "started": container.started,
        "uptime_seconds": None if uptime is None else round(uptime, 1),
        "restarts": container.restarts,
        "port": container.label("port"),
        "api": container.label("api") or "openai",
        "server_ended": None
        if end is None
        else {
            "exit_status": end.status,
            "dead_ranks": list(end.ranks),
            "what": end.how(container.label("group").split(",")),
        },
    }


def _supervisor(fact: SupervisorFact) -> dict[str, Any] | None:
    """What starts the host's rank again; None if nothing does. `says`: `runs`, or what it waits
    for."""
    if not fact.present:
        return None
    return {
        "recipe": fact.recipe,
        "rank": fact.rank,
        "run": fact.launch,
        "enabled": fact.enabled,
        "active": fact.active,
        "says": fact.says,
    }


def endpoint(before: Metrics, after: Metrics, seconds: float | None) -> dict[str, Any]:
    """The server's work. `ttft_seconds` is the mean of the requests that got their first token
    between the readings, else of all since the start."""
    return {
        "error": after.error,
        "running": after.running,
        "waiting": after.waiting,
        "tokens_per_second": _rate(metrics.generated(before, after), seconds),
        "prompt_tokens_per_second": _rate(metrics.prompted(before, after), seconds),
        "kv_cache_usage": after.kv_cache_usage,
        "ttft_seconds": _mean(
            (before.ttft_sum, before.ttft_count), (after.ttft_sum, after.ttft_count)
        ),
    }


Sums = tuple[float | None, float | None]


def _mean(before: Sums, after: Sums) -> float | None:
    (sum_before, count_before), (total, number) = before, after
    if total is None or not number:
        return None
    if sum_before is not None and count_before is not None and number > count_before:
        total, number = total - sum_before, number - count_before
    return round(total / number, 3)


def _metrics(facts: Facts) -> Metrics:
    engine = facts.get(ENGINE)
    return engine.metrics if engine is not None else Metrics()


def _rate(count: int | None, seconds: float | None) -> float | None:
    return round(count / seconds, 1) if count is not None and seconds else None
