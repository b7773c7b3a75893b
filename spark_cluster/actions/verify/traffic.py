"""The traffic that is there, none of ours: one verdict, or one an interval until a stop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, TypedDict

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Active, activate
from spark_cluster.actions.verdict import judged_event
from spark_cluster.actions.verify.common import Verified, conclude, nothing_runs, verify_request
from spark_cluster.core.error import Interrupted
from spark_cluster.core.event import Event
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.inventory.models import Inventory
from spark_cluster.rdma.verdict import Verdict
from spark_cluster.runner.session import PROBE_SECONDS
from spark_cluster.steps.rdma_verdict import MOVING, STANDING, evaluate
from spark_cluster.watch.turns import Turn, Watch
from spark_cluster.workload.served import HostFacts, to_verify


@dataclass(frozen=True)
class LookingOn(Event):
    """The traffic is watched for so many seconds."""

    kind: str = field(default="looking_on", init=False)
    seconds: float


class RailRates(TypedDict):
    """Per second, in `unit`: B, or packets; None is unknown."""

    host: str
    rank: int
    rail: str
    unit: str
    tx_per_second: float | None
    rx_per_second: float | None
    errors: dict[str, int]
    is_expected: bool


class IntervalJson(TypedDict):
    """`time` is its end (ISO 8601); `tokens` were generated within its `seconds`."""

    time: str
    verdict: str
    code: str | None
    reasons: list[str]
    tokens: int | None
    seconds: float
    tokens_per_second: float | None
    rails: list[RailRates]


@dataclass(frozen=True)
class Interval(Event):
    """One interval, ended at `time`. `is_news`: its verdict or its causes are others than those of
    the interval before. In JSON, rails are rates in their `unit` per second."""

    kind: str = field(default="watched", init=False)
    json_of: ClassVar[tuple[type, ...]] = (IntervalJson,)
    time: datetime
    verdict: Verdict
    is_news: bool

    def as_dict(self) -> dict[str, Any]:
        result = self.verdict
        return {
            "kind": self.kind,
            "time": self.time.isoformat(timespec="milliseconds"),
            "verdict": result.kind,
            "code": result.code,
            "reasons": [reason.text for reason in result.reasons],
            "tokens": result.tokens,
            "seconds": round(result.seconds, 2),
            "tokens_per_second": _per_second(result.tokens, result.seconds),
            "rails": [
                {
                    "host": row.host,
                    "rank": row.rank,
                    "rail": row.rail,
                    "unit": row.unit,
                    "tx_per_second": _per_second(row.tx, result.seconds),
                    "rx_per_second": _per_second(row.rx, result.seconds),
                    "errors": row.errors,
                    "is_expected": row.is_expected,
                }
                for row in result.rows
            ],
        }


@dataclass(frozen=True)
class Unjudged(Event):
    """An interval without a verdict: `unseen` says which hosts were not read yet, and why; empty if
    nothing of ours runs."""

    kind: str = field(default="unjudged", init=False)
    time: datetime
    unseen: tuple[str, ...]


@dataclass(frozen=True)
class NotJudged(Event):
    """What runs beside what the verdicts are about, when that changes."""

    kind: str = field(default="not_judged", init=False)
    others: tuple[dict[str, Any], ...]


def live(
    inventory: Inventory, hosts: Sequence[str], operator: Operator, *, seconds: float = 5.0
) -> Verified:
    """One verdict on what happens within `seconds`. Raises as `verify` does, and Interrupted for a
    stop before that."""
    with activate(verify_request(inventory, hosts), operator) as active:
        active.listener(LookingOn(seconds))
        for result, turn in _verdicts(active, seconds, patience=PROBE_SECONDS):
            if result is None:
                raise nothing_runs(active)
            return conclude(active, result, turn.known)
        raise _too_early()


def watch(
    inventory: Inventory, hosts: Sequence[str], operator: Operator, *, interval: float = 5.0
) -> Verified:
    """A verdict an interval until a stop; the outcome is that of the last."""
    with activate(verify_request(inventory, hosts), operator) as active:
        last: tuple[Verdict, Turn] | None = None
        others: tuple[dict[str, Any], ...] = ()
        for result, turn in _verdicts(active, interval):
            now = datetime.now(UTC)
            if result is None:
                unseen = _unseen(active, turn)
                if last is None and not unseen:
                    raise nothing_runs(active)
                operator.listener(Unjudged(now, unseen))
                continue
            is_news = last is None or _gist(last[0]) != _gist(result)
            # The journal keeps the changes alone.
            tell = active.listener if is_news else operator.listener
            tell(Interval(now, result, is_news))
            last = result, turn
            before, others = others, judged_event(active, result, turn.known).not_judged
            if others != before:
                operator.listener(NotJudged(others))
        if last is None:
            raise _too_early()
        return conclude(active, last[0], last[1].known, told=False)


def _unseen(active: Active, turn: Turn) -> tuple[str, ...]:
    """Hosts that are there and whose containers were not read yet, and why: late is not gone."""
    told = []
    for name in active.session.alive:
        facts = turn.known.get(name)
        fact = facts.get(CONTAINERS) if facts is not None else None
        if fact is None:
            told.append(f"{name} is late")
        elif fact.error:
            told.append(f"{name}: {fact.error}")
    return tuple(told)


def _verdicts(
    active: Active, interval: float, patience: float | None = None
) -> Iterator[tuple[Verdict | None, Turn]]:
    """Each interval's verdict, None while nothing of ours runs."""

    def epoch(facts: HostFacts) -> object:
        """Another start of the engine has other logs and other grants."""
        found = to_verify(facts)
        return found and (found.host, found.head.started)

    looked = Watch(
        active.session,
        MOVING,
        STANDING,
        interval=interval,
        patience=patience,
        listener=active.listener,
        epoch=epoch,
    )
    for turn in looked.turns():
        yield evaluate(turn.before, turn.after, active.request.inventory, known=turn.known), turn


def _gist(result: Verdict) -> tuple[object, ...]:
    return result.kind, result.code, result.causes


def _per_second(count: float | None, seconds: float) -> float | None:
    if count is None or not seconds or not math.isfinite(seconds):
        return None
    return round(count / seconds, 1)


def _too_early() -> Interrupted:
    return Interrupted(
        "stopped before the first interval was over",
        remedy="Nothing was changed. A shorter --interval gives a verdict sooner.",
    )
