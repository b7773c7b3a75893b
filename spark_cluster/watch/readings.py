"""From two readings of the hosts to what the watcher judges. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from spark_cluster.core.labels import LABEL
from spark_cluster.core.ours import OURS
from spark_cluster.facts.base import Fact, Facts, ProbeContext
from spark_cluster.facts.clock import CLOCK
from spark_cluster.facts.connectx import CONNECTX
from spark_cluster.facts.docker import CONTAINERS, Container, log_of_this_start
from spark_cluster.facts.ended import SERVER_END
from spark_cluster.facts.engine import ENGINE
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.lock import LOCK
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.rdma import COUNTERS
from spark_cluster.facts.supervisor import SUPERVISOR
from spark_cluster.inventory.models import Host, Inventory
from spark_cluster.rdma import deltas
from spark_cluster.rdma.counter_names import Growth, severity
from spark_cluster.rdma.deltas import CounterDelta
from spark_cluster.rdma.evidence import Rank
from spark_cluster.serving import metrics, milestones
from spark_cluster.serving.metrics import Metrics
from spark_cluster.watch import exporter
from spark_cluster.watch.detector import STILL_BYTES
from spark_cluster.watch.observation import (
    EngineObservation,
    HostObservation,
    Observation,
    RankObservation,
)
from spark_cluster.watch.power import work_watts
from spark_cluster.workload.served import (
    HostFacts,
    Served,
    beside,
    container_of,
    dead,
    ended,
    heads,
    holds_gpu,
    ranks,
    server_down,
    to_verify,
)

#: STILL_BYTES for a device that counts packets only.
_STILL_PACKETS = 64

_LOG_LINES = 400


def _start_script(_: ProbeContext) -> str:
    log = log_of_this_start('"$_c"', tail=_LOG_LINES)
    return f"""\
{OURS}[ -n "${{_docker_hangs:-}}" ] ||
for _c in $(_ours --filter label={LABEL}.role=head); do
  {log}
done
true
"""


#: How far the start-up of the head is, by its log.
PROGRESS = Fact("progress", _start_script, milestones.read)

_FACTS: tuple[Fact[object], ...] = (
    HOST, CLOCK, LOCK, CONTAINERS, SERVER_END, SUPERVISOR, ENGINE, GPU, PROGRESS, CONNECTX,
    *exporter.FACTS,
)  # fmt: skip

#: What is read every interval, the exporter's among it, each once.
FACTS: tuple[Fact[object], ...] = tuple({fact.name: fact for fact in _FACTS}.values())

_COMPILER = re.compile(
    r"(?:^|/)(?:nvcc|cicc|ptxas|cudafe\+\+|fatbinary|cc1plus|ninja|clang(?:\+\+)?|tvm_ffi)(?:-\d+)?"
    r"(?:\s|$)",
    re.ASCII,
)


@dataclass(frozen=True)
class Canary:
    """What one token brought on this start of the engine: empty if it came."""

    start: str
    said: str


@dataclass(frozen=True)
class Look:
    """`served` is what was judged, also when its head has ended; None if there is no head. `beside`
    is what else runs."""

    observation: Observation
    served: Served | None = None
    idle: bool = False
    beside: tuple[Served, ...] = ()


def look(
    before: HostFacts,
    after: HostFacts,
    known: HostFacts,
    inventory: Inventory,
    *,
    at: float,
    hosts: tuple[str, ...],
    canary: Canary | None = None,
    lost: Mapping[str, str] | None = None,
) -> Look:
    """What is to be judged of an interval that ended `at`. `known` is what was last read of every
    host, `lost` why one could not be read; `idle` says that a canary would disturb nobody and end
    nothing."""
    changes = {
        name: deltas.delta(before[name][COUNTERS], facts[COUNTERS])
        for name, facts in after.items()
        if name in before
    }
    seen = {
        name: _host(inventory.hosts[name], before.get(name), after[name], changes.get(name))
        if name in after
        else None
        for name in hosts
    }
    busy = any(facts[LOCK].run for facts in after.values())
    found = _watched(after, known)
    engine = None
    if found is not None and found.host in after:
        engine = (
            _engine(found, before, after, known, inventory, changes, canary)
            if found.head.running
            else _ended(found, after[found.host])
        )
    idle = found is not None and engine is not None and not busy and _idle(found, engine, after)
    why = {name: said.removeprefix(f"{name}: ") for name, said in (lost or {}).items()}
    others = tuple(beside(found, after)) if found is not None else ()
    return Look(Observation(at, seen, engine, busy, why), found, idle, others)


def _watched(after: HostFacts, known: HostFacts) -> Served | None:
    """What runs, a group before a server on one host. Such a server does not hide that a group has
    ended either, unless it came later and has one of the group's hosts."""
    found = to_verify(after)
    if found is None:
        return next(iter(heads(known)), None)  # of a host that died, its last reading
    serving = (found, *beside(found, after))
    for group in heads(after) if not found.spans else ():
        over = any(each.host in group.hosts and each.run > group.run for each in serving)
        if group.spans and not group.head.running and not over:
            return group
    return found


def _idle(found: Served, engine: EngineObservation, after: HostFacts) -> bool:
    """Whether it would answer a request at once. Of an engine that does not count its requests the
    GPUs tell; Ollama would first load a model that is not loaded, and that takes minutes."""
    if not engine.healthy or engine.dead or engine.ended:
        return False
    if found.has_key and after[found.host][CONTAINERS].error:
        return False  # docker would have to tell the key
    if found.api == "ollama" and holds_gpu(found.head, after[found.host]) is False:
        return False
    if engine.running is not None:
        return engine.running == 0
    return all(_rests(rank) for rank in engine.ranks)


def _rests(rank: RankObservation) -> bool:
    limit = work_watts(rank.gpu)
    return rank.watts is not None and limit is not None and rank.watts < limit


def _host(
    host: Host, then: Facts | None, now: Facts, change: CounterDelta | None
) -> HostObservation:
    memory = now[MEMORY]
    grown = {}
    for device in change.devices.values() if change is not None else ():
        for name, count in device.errors.items():
            if severity(name) is Growth.FAIL and count:
                grown[f"{device.device} {name}"] = count
    rails = {rail.interface: exporter.rail_up(now, rail) for rail in host.rails}
    return HostObservation(
        boot_id=now[HOST].boot_id,
        available=memory.available / memory.total if memory.total else None,
        rails={name: is_up for name, is_up in rails.items() if is_up is not None},
        grown=grown,
        docker=now[CONTAINERS].error,
        short=memory.short,
        pcie=_pcie(then, now) if change is not None and not change.rebooted else {},
    )


def _pcie(then: Facts | None, now: Facts) -> dict[str, int]:
    """How much the ConnectX's uncorrectable errors grew, where both readings have its counters: a
    function that was added again counts from zero."""
    before, after = (facts.get(CONNECTX) if facts is not None else None for facts in (then, now))
    if before is None or after is None:
        return {}
    return {
        address: grown
        for address, counts in sorted(after.errors.items())
        if address in before.errors
        and (grown := counts.uncorrectable - before.errors[address].uncorrectable) > 0
    }


def start_of(found: Served) -> str:
    """Names this start of the engine."""
    return f"{found.host} {found.head.name} {found.head.started}"


def _engine(
    found: Served,
    before: HostFacts,
    after: HostFacts,
    known: HostFacts,
    inventory: Inventory,
    changes: dict[str, CounterDelta],
    canary: Canary | None,
) -> EngineObservation:
    start = start_of(found)
    head = after.get(found.host, Facts())
    engine, progress = head.get(ENGINE), head.get(PROGRESS)
    first, second = _metrics(before.get(found.host)), _metrics(head)
    generated, prompted = metrics.generated(first, second), metrics.prompted(first, second)
    running = None
    if first.running is not None and second.running is not None:
        running = min(first.running, second.running)
    return EngineObservation(
        start=start,
        host=found.host,
        healthy=engine.healthy if engine is not None else None,
        running=running,
        tokens=None if generated is None else generated + (prompted or 0),
        ranks=tuple(
            _rank(
                rank, container_of(found, known.get(rank.host, Facts()), rank.rank), after, changes
            )
            for rank in ranks(found, known, inventory)
        ),
        dead=tuple(dead(found, after)),
        ended=server_down(found, after),
        was_ready=(end := ended(found, after)) is not None and end.was_ready,
        stage=progress.current if progress is not None else "",
        failure=progress.failure.reason if progress is not None and progress.failure else "",
        canary=canary.said if canary is not None and canary.start == start else None,
        supervised=_supervised(head),
        age=found.head.uptime(clock.epoch) if (clock := head.get(CLOCK)) is not None else None,
    )


def _ended(found: Served, facts: Facts) -> EngineObservation:
    """A head that is there and runs no more."""
    return EngineObservation(
        start_of(found),
        found.host,
        dead=tuple(dead(found, {found.host: facts})),
        supervised=_supervised(facts),
    )


def _supervised(facts: Facts) -> bool:
    supervisor = facts.get(SUPERVISOR)
    return supervisor is not None and supervisor.active


def _metrics(facts: Facts | None) -> Metrics:
    engine = facts.get(ENGINE) if facts is not None else None
    return engine.metrics if engine is not None else Metrics()


def _rank(
    rank: Rank, container: Container | None, after: HostFacts, changes: dict[str, CounterDelta]
) -> RankObservation:
    state = after[rank.host][GPU_STATE] if rank.host in after else None
    gpu = after[rank.host].get(GPU) if rank.host in after else None
    processes = container.processes if container is not None and rank.host in after else ()
    return RankObservation(
        rank=rank.rank,
        host=rank.host,
        moved=_moved(rank, changes.get(rank.host)),
        watts=state.watts if state is not None else None,
        utilization=state.utilization if state is not None else None,
        compiles=any(_COMPILER.search(arguments) for _, arguments in processes),
        gpu=next(iter(gpu.names), "") if gpu is not None else "",
    )


def _moved(rank: Rank, change: CounterDelta | None) -> bool | None:
    """Whether any rail of the rank carried something; None if none of them could say."""
    if change is None:
        return None
    said = []
    for rail in rank.rails:
        device = change.devices.get(rail.device)
        if device is None or device.problem:
            continue
        sent = max(device.xmit_bytes or 0, device.rcv_bytes or 0)
        packets = max(device.xmit_packets or 0, device.rcv_packets or 0)
        by_byte = device.xmit_bytes is not None
        said.append(sent > STILL_BYTES if by_byte else packets > _STILL_PACKETS)
    return any(said) if said else None
