"""What the watcher makes of what it sees: a state machine without a clock or a host of its own.

`judge(state, observation)` gives the next state and the conditions that hold. A sign must
last, each kind as long as its patience says, before it is a condition.

A wedge is told from what looks like one:

- **a start-up** (an hour of encoder profiling among it): until the server has answered once, only
  a dead rank counts, and a start that takes longer than `Thresholds.start`;
- **a long prompt**: RDMA carries its activations, and the GPUs draw power. From how many watts on
  they work is learned from what they draw while no request runs (watch/power.py);
- **just-in-time compiling**: a compiler runs beside a rank. One inside the rank's process cannot be
  seen, so within `Thresholds.young` of the server's first answer a wedge is only a warning for
  `Thresholds.compiling`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from spark_cluster.core.finding import Severity
from spark_cluster.core.units import human_bytes
from spark_cluster.facts.memory import LEAST
from spark_cluster.watch.observation import EngineObservation, Observation
from spark_cluster.watch.power import KEPT, work_watts

Kind = Literal[
    "wedge",
    "dead-rank",
    "no-token",
    "silent",
    "down",
    "start",
    "memory",
    "rail",
    "errors",
    "reboot",
    "away",
    "docker",
]
CRITICAL, WARNING = Severity.CRITICAL, Severity.WARNING

#: The kinds that mend only with a restart.
FATAL: frozenset[Kind] = frozenset({"wedge", "dead-rank", "no-token", "silent", "down"})

#: A rail that carries less in an interval stands still: an idle engine sends nothing at all.
STILL_BYTES = 64 * 1024

#: Shares of MemTotal; at the second a Spark is about to freeze (doctor/memory.py), and with less
#: than LEAST, too.
_LITTLE = 0.05
_CLIFF = 0.03


@dataclass(frozen=True)
class Thresholds:
    """Seconds. `stalled`: so long what a log says against a start may stand there while the
    engine's processes live: engines survive much of what they print. `hold`: so long after its last
    sign a thing of a moment (a reboot, an error) is still told. `wedge` is longer than the longest
    prefill. `supervised`: so long a rank that ended is left to the hosts' own supervisors, which
    pause 600 s at most and give the ranks 300 s to join (workload/supervisor.sh)."""

    wedge: float = 300.0
    young: float = 3600.0
    compiling: float = 2700.0
    start: float = 6000.0
    stalled: float = 600.0
    dead: float = 15.0
    silent: float = 60.0
    rail: float = 10.0
    away: float = 30.0
    docker: float = 30.0
    supervised: float = 1200.0
    hold: float = 600.0


DEFAULT = Thresholds()


class Key(NamedTuple):
    """What a sign is about. `at`: the host that shows it, where that is not `host` itself."""

    kind: Kind
    host: str
    subject: str = ""
    at: str = ""


@dataclass(frozen=True)
class Condition:
    """What is wrong. `since` is when its sign was first seen, `what` says it with numbers.
    `attended`: the hosts are about to mend it themselves, and a restart would disturb them.
    `unseen`: it held when it was last seen, and this time nobody could say. `at`: the host that
    shows it, where that is another one than the head."""

    kind: Kind
    host: str
    subject: str
    code: str
    severity: Severity
    what: str
    since: float
    attended: bool = False
    unseen: bool = False
    at: str = ""

    @property
    def key(self) -> Key:
        return Key(self.kind, self.host, self.subject, self.at)

    @property
    def fatal(self) -> bool:
        """Whether only a restart mends it, and it is sure."""
        return self.kind in FATAL and self.severity is CRITICAL and not self.unseen


#: What may be a condition, and how long it must last to be one.
_Sign = tuple[Condition, float]


@dataclass(frozen=True)
class State:
    """What is remembered from one observation to the next; `found` are the conditions of the last,
    `moments` those of a moment, each with the time until which it is told. `idle`: what each host's
    GPU drew while no request ran, in W, the newest last."""

    since: Mapping[Key, float] = field(default_factory=dict)
    found: tuple[Condition, ...] = ()
    moments: Mapping[Key, tuple[Condition, float]] = field(default_factory=dict)
    boots: Mapping[str, str] = field(default_factory=dict)
    start: str = ""
    began: float = 0.0
    ready: float | None = None
    canaries: int = 0
    canary: str = ""
    idle: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def judge(
    state: State, observation: Observation, thresholds: Thresholds = DEFAULT
) -> tuple[State, tuple[Condition, ...]]:
    """The next state, and what is wrong now, the gravest first."""
    state = _learn(_remember(state, observation), observation)
    observation, at = _limited(state, observation), observation.at
    moments = {key: held for key, held in state.moments.items() if at < held[1]}
    for each in _moments(state, observation):
        first = moments.pop(each.key, (each, at))[0].since
        moments[each.key] = replace(each, since=first), at + thresholds.hold
    since: dict[Key, float] = {}
    found: list[Condition] = []
    for each, patience in _signs(state, observation, thresholds):
        first = since[each.key] = state.since.get(each.key, at)
        if at - first >= patience:
            found.append(replace(each, since=first))
    for key, first in state.since.items():
        if key not in since and _unknown(key, observation):
            since[key] = first
            found += [replace(each, unseen=True) for each in state.found if each.key == key]
    found += [each for each, _ in moments.values()]
    seen = {name: host.boot_id for name, host in observation.hosts.items() if host and host.boot_id}
    boots = {**state.boots, **seen}
    found.sort(key=lambda each: (each.severity is not CRITICAL, each.since))
    state = replace(state, since=since, found=tuple(found), moments=moments, boots=boots)
    return state, tuple(found)


def _unknown(key: Key, observation: Observation) -> bool:
    """Whether this observation cannot tell if a fatal sign is still there: the head's host was not
    read, or the dead rank's, or nobody asked the server, or no rank shows whether it works."""
    kind = key.kind
    if kind not in FATAL:
        return False
    unread = {name for name, seen in observation.hosts.items() if seen is None}
    if observation.engine is None:
        return key.host in unread
    if kind == "dead-rank":
        return key.at in unread
    if kind in ("silent", "no-token"):
        return not observation.busy and observation.engine.healthy is None
    return kind == "wedge" and not observation.busy and _frozen(observation.engine) is None


def _remember(state: State, observation: Observation) -> State:
    """Which start of the engine this is, whether it was ready, how its canaries did."""
    engine = observation.engine
    if engine is None:
        gone = not observation.busy and all(host is not None for host in observation.hosts.values())
        return _new_start(state, "", observation.at) if gone else state
    if engine.start != state.start:
        began = observation.at - (engine.age or 0.0)
        state = _new_start(state, engine.start, began)
        if engine.healthy:  # when it became so is not known
            state = replace(state, ready=began)
    if engine.healthy and state.ready is None:
        state = replace(state, ready=observation.at)
    if engine.canary:
        return replace(state, canaries=state.canaries + 1, canary=engine.canary)
    return replace(state, canaries=0) if engine.canary == "" or engine.tokens else state


def _learn(state: State, observation: Observation) -> State:
    """What the GPUs draw while the engine has nothing to do."""
    engine = observation.engine
    if engine is None or observation.busy or not engine.healthy:
        return state
    if engine.running != 0 or engine.tokens:
        return state
    idle = dict(state.idle)
    for rank in engine.ranks:
        if rank.watts is not None and not rank.moved and not rank.compiles:
            idle[rank.host] = (*idle.get(rank.host, ()), rank.watts)[-KEPT:]
    return replace(state, idle=idle)


def _limited(state: State, observation: Observation) -> Observation:
    """The observation, its ranks with the watts from which on they work."""
    if observation.engine is None:
        return observation
    ranks = tuple(
        replace(rank, works_above=work_watts(rank.gpu, state.idle.get(rank.host, ())))
        for rank in observation.engine.ranks
    )
    return replace(observation, engine=replace(observation.engine, ranks=ranks))


def _new_start(state: State, start: str, began: float) -> State:
    since = {key: seen for key, seen in state.since.items() if key.kind not in FATAL}
    return replace(state, start=start, began=began, ready=None, canaries=0, since=since)


def _moments(state: State, observation: Observation) -> Iterator[Condition]:
    """What happened within the interval."""
    at = observation.at
    for name, host in observation.hosts.items():
        if host is None:
            continue
        before = state.boots.get(name)
        if before and host.boot_id and host.boot_id != before:
            yield Condition("reboot", name, "", "MON004", WARNING, "the host rebooted", at)
        for counter, count in host.grown.items():
            what = f"{counter} grew by {count}"
            yield Condition("errors", name, counter, "RDMA012", WARNING, what, at)
        for address, count in host.pcie.items():
            what = f"uncorrectable PCIe errors of the ConnectX at {address} grew by {count}"
            yield Condition("errors", name, f"PCIe {address}", "NET025", WARNING, what, at)


def _signs(state: State, observation: Observation, thresholds: Thresholds) -> Iterator[_Sign]:
    """What is the case now."""
    at = observation.at
    for name, host in observation.hosts.items():
        if host is None:
            what = observation.lost.get(name) or "the host does not answer"
            yield Condition("away", name, "", "HOST010", CRITICAL, what, at), thresholds.away
            continue
        if host.docker:
            what = f"docker says: {host.docker}"
            yield Condition("docker", name, "", "DOCKER001", WARNING, what, at), thresholds.docker
        if host.available is not None and (host.short or host.available < _LITTLE):
            grave = _grave(host.short or host.available < _CLIFF)
            what = f"{host.available:.1%} of the memory is available"
            what += f", less than {human_bytes(LEAST)}" if host.short else ""
            yield Condition("memory", name, "", "HOST011", grave, what, at), 0.0
        for rail, is_up in host.rails.items():
            if not is_up:
                what = f"rail {rail} is down"
                yield (
                    Condition("rail", name, rail, "RDMA002", CRITICAL, what, at),
                    thresholds.rail,
                )
    if observation.engine is not None and not observation.busy:
        yield from _engine_signs(state, observation.engine, at, thresholds)


def _grave(is_grave: bool) -> Severity:
    return CRITICAL if is_grave else WARNING


def _engine_signs(
    state: State, engine: EngineObservation, at: float, thresholds: Thresholds
) -> Iterator[_Sign]:
    def dead(who: str, on: str, code: str, what: str) -> _Sign:
        lasted = at - state.since.get(Key("dead-rank", engine.host, who, on), at)
        attended = engine.supervised and lasted < thresholds.supervised
        found = Condition("dead-rank", engine.host, who, code, CRITICAL, what, at, attended, at=on)
        return found, thresholds.dead

    def sign(kind: Kind, code: str, severity: Severity, what: str, patience: float = 0.0) -> _Sign:
        return Condition(kind, engine.host, "", code, severity, what, at), patience

    for rank in engine.dead:
        yield dead(rank.name, rank.host, "RDMA016", rank.what)
    if engine.ended and (state.ready is not None or engine.was_ready):
        yield dead(f"{engine.host} (server)", engine.host, "SERVE015", engine.ended)
        return
    if state.ready is None:
        if failure := engine.ended or engine.failure:
            wait = 0.0 if engine.ended else thresholds.stalled
            yield sign("start", "SERVE007", CRITICAL, failure, wait)
        elif at - state.began >= thresholds.start:
            what = f"not ready after {(at - state.began) / 60:.0f} min: {engine.stage or 'no log'}"
            yield sign("start", "SERVE007", WARNING, what)
        return
    if engine.healthy is False and not engine.dead:
        what = "the server was ready and does not answer any more"
        yield sign("silent", "MON005", CRITICAL, what, thresholds.silent)
    if state.canaries and engine.healthy:
        what = f"the server says that it is well, and one token brought: {state.canary}"
        yield sign("no-token", "RDMA016", _grave(state.canaries > 1), what)
    if _frozen(engine):
        lasted = at - state.since.get(Key("wedge", engine.host), at)
        young = at - state.ready < thresholds.young and lasted < thresholds.compiling
        what = f"{engine.running:.0f} requests run and no token comes; {_ranks(engine)}"
        what += "; it may still be compiling" if young else ""
        yield sign("wedge", "RDMA015", _grave(not young), what, thresholds.wedge)


def _frozen(engine: EngineObservation | None) -> bool | None:
    """Whether requests run, no token comes, and no rank shows that it works. None: not known."""
    if engine is None or engine.running is None or engine.tokens is None:
        return None
    if not engine.running or engine.tokens:
        return False
    if any(rank.moved or rank.compiles or rank.computes for rank in engine.ranks):
        return False
    witnessed = any(rank.moved is False or rank.computes is False for rank in engine.ranks)
    return True if witnessed else None


def _ranks(engine: EngineObservation) -> str:
    """`rank 0: RDMA still, GPU 96 % at 28 W (works above 40 W); rank 1: …`."""
    told = []
    for rank in engine.ranks:
        parts = ["RDMA still"] if rank.moved is False else []
        if rank.watts is not None:
            load = f"{rank.utilization:.0f} % " if rank.utilization is not None else ""
            limit = "what it draws idle is not known yet"
            if rank.works_above is not None:
                limit = f"works above {rank.works_above:.0f} W"
            parts.append(f"GPU {load}at {rank.watts:.0f} W ({limit})")
        told.append(f"rank {rank.rank}: {', '.join(parts) or 'unknown'}")
    return "; ".join(told)
