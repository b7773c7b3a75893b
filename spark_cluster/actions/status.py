"""What of ours runs where: a row a host from two readings of it, and the last verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Required, TypedDict

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import looking
from spark_cluster.core.error import SparkError
from spark_cluster.core.event import Event
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
from spark_cluster.inventory.models import Host, Inventory
from spark_cluster.rdma import deltas
from spark_cluster.rdma.counter_names import Growth, severity
from spark_cluster.rdma.deltas import CounterDelta
from spark_cluster.runner.interrupt import heed
from spark_cluster.runner.last_verdict import last_verdict
from spark_cluster.runner.session import Session
from spark_cluster.serving import metrics
from spark_cluster.serving.metrics import Metrics
from spark_cluster.watch.turns import Turn, Watch
from spark_cluster.workload.launched import overrides_of
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


#: Seconds for one look: it takes two, and a minute where docker and nvidia-smi hang.
_SECONDS = 75.0


class RailStatus(TypedDict):
    """`unit` is what the rates count: B, or packets where the driver counts no bytes. `errors` are
    those above zero that are not benign, `errors_grown` between the readings."""

    interface: str
    device: str
    state: str
    rate: str
    unit: str
    tx_per_second: float | None
    rx_per_second: float | None
    errors: dict[str, int]
    errors_grown: dict[str, int]


class ServerEnd(TypedDict):
    """How the server in a container ended."""

    exit_status: int | None
    dead_ranks: list[int]
    what: str


class ContainerStatus(TypedDict):
    """A container of ours; `started` and `uptime_seconds` by the host's clock. `overrides` are the
    options that its launch set over the recipe."""

    name: str
    state: str
    exit_code: int | None
    recipe: str
    rank: str
    run: str
    started: str
    uptime_seconds: float | None
    restarts: int
    port: str
    api: str
    overrides: list[str]
    server_ended: ServerEnd | None


class SupervisorStatus(TypedDict):
    """What starts the host's rank again. `says`: `runs`, or what it waits for."""

    recipe: str
    rank: str
    run: str
    enabled: bool
    active: bool
    says: str


class EndpointStatus(TypedDict):
    """The server's work. `ttft_seconds` is the mean of the requests that got their first token
    between the readings, else of all since the start."""

    error: str
    running: float | None
    waiting: float | None
    tokens_per_second: float | None
    prompt_tokens_per_second: float | None
    kv_cache_usage: float | None
    ttft_seconds: float | None


class HostStatus(TypedDict, total=False):
    """`state` is up, or unknown with `reason` and `remedy` and nothing else. Bytes, seconds, W,
    MHz, °C, percent of the GPU; None is unknown, as every rate is without a first reading."""

    host: Required[str]
    state: Required[str]
    reason: str
    remedy: str
    boot_id: str
    uptime_seconds: float | None
    load: list[float]
    cores: int | None
    memory_available: int
    memory_total: int
    swap: list[str]
    swap_bytes: int
    gpu: list[str]
    gpu_processes: list[str]
    gpu_utilization: float | None
    gpu_watts: float | None
    gpu_sm_mhz: float | None
    gpu_max_sm_mhz: float | None
    gpu_celsius: float | None
    rails: list[RailStatus]
    containers: list[ContainerStatus]
    docker_error: str
    healthy: bool | None
    endpoint: EndpointStatus | None
    restarts_at_boot: SupervisorStatus | None
    lock: str | None
    files_lock: str | None


class VerdictStatus(TypedDict):
    """The last RDMA verdict that this controller gave; `current`: on the launch that runs now."""

    kind: str
    code: str | None
    reason: str
    when: str
    age_seconds: int
    by: str
    recipe: str
    run: str
    current: bool


@dataclass(frozen=True)
class StatusReport(Event):
    """All hosts that were asked for, in their order."""

    kind: str = field(default="status", init=False)
    inventory: str
    hosts: tuple[HostStatus, ...]
    verdict: VerdictStatus | None

    @property
    def exit_code(self) -> int:
        """3 if a host, or what docker runs there, is unknown."""
        unknown = (row["state"] == "unknown" or row.get("docker_error") for row in self.hosts)
        return 3 if any(unknown) else 0


def status(inventory: Inventory, names: Sequence[str], operator: Operator) -> StatusReport:
    """One exec a host; nothing is changed. Rates are those of about a second."""
    with looking(inventory, names, operator) as session:
        outcomes = session.each(session.alive, lambda host: host.read(TWICE, timeout=_SECONDS))
        rows = []
        for name in names:
            outcome = session.lost.get(name) or outcomes[name]
            if isinstance(outcome, SparkError):
                rows.append(unknown(name, outcome.message, outcome.remedy))
            else:
                rows.append(row(inventory.hosts[name], before_of(outcome), outcome))
    return StatusReport(str(inventory.path), tuple(rows), verdict_row(inventory, rows))


def refreshes(
    inventory: Inventory, names: Sequence[str], interval: float, operator: Operator
) -> Iterator[StatusReport]:
    """A report every `interval` seconds until a stop, also while hosts die."""
    with looking(inventory, names, operator) as session, heed(session, lambda _: None):
        watching = Watch(session, FACTS, (), interval=interval, listener=lambda _: None)
        for turn in watching.turns():
            rows = [_refreshed(session, inventory, turn, name) for name in session.hosts]
            verdict = verdict_row(inventory, rows)
            yield StatusReport(str(inventory.path), tuple(rows), verdict)


def _refreshed(session: Session, inventory: Inventory, turn: Turn, name: str) -> HostStatus:
    now = turn.after.get(name)
    if now is None:
        error = session.lost.get(name)
        if error is None:
            return unknown(name, "does not answer", "")
        return unknown(name, error.message, error.remedy)
    return row(inventory.hosts[name], turn.before.get(name), now)


def verdict_row(inventory: Inventory, rows: Sequence[HostStatus]) -> VerdictStatus | None:
    """The journal's last verdict on this inventory."""
    last = last_verdict(inventory.path)
    if last is None:
        return None
    runs = {c["run"] for row in rows for c in row.get("containers", ()) if c["state"] == "running"}
    return {
        "kind": last.kind,
        "code": last.code,
        "reason": last.reason,
        "when": last.when.isoformat(),
        "age_seconds": round(last.age()),
        "by": last.verb,
        "recipe": last.recipe,
        "run": last.run,
        "current": last.run in runs,
    }


def before_of(facts: Facts) -> Facts:
    """The first of the two readings that TWICE made."""
    return Facts({COUNTERS.name: facts.get(_COUNTERS_FIRST), ENGINE.name: facts.get(_ENGINE_FIRST)})


def unknown(name: str, reason: str, remedy: str) -> HostStatus:
    return {"host": name, "state": "unknown", "reason": reason, "remedy": remedy}


def row(host: Host, before: Facts | None, now: Facts) -> HostStatus:
    """A host that answered."""
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


def _rail(interface: str, device: str, now: Facts, delta: CounterDelta | None) -> RailStatus:
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
        if value and severity(name) is not Growth.BENIGN
    }


def _container(container: Container, now: Facts, epoch: float | None) -> ContainerStatus:
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
        "overrides": list(overrides_of(container).words()),
        "server_ended": None
        if end is None
        else {
            "exit_status": end.status,
            "dead_ranks": list(end.ranks),
            "what": end.how(container.label("group").split(",")),
        },
    }


def _supervisor(fact: SupervisorFact) -> SupervisorStatus | None:
    """None if nothing starts it again."""
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


def endpoint(before: Metrics, after: Metrics, seconds: float | None) -> EndpointStatus:
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
