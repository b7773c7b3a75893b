"""`spark-cluster verify-rdma --live` and `--watch`: the traffic that is there, none of ours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spark_cluster.cli.running import Active, Request
    from spark_cluster.rdma.verdict import Verdict
    from spark_cluster.watch.turns import Turn, Watch


def live(request: Request, interval: float) -> int:
    """One verdict on what happens within `interval` seconds."""
    from spark_cluster.cli.commands.verify_rdma import conclude, nothing_runs
    from spark_cluster.cli.running import activate
    from spark_cluster.runner.session import PROBE_SECONDS

    with activate(request) as active:
        active.say(f"  watching the traffic that is there for {interval:g} s")
        for result, turn in _verdicts(active, interval, patience=PROBE_SECONDS):
            if result is None:
                raise nothing_runs(active)
            return conclude(active, result, turn.known, [])
        raise _too_early()


def watch(request: Request, interval: float) -> int:
    """A line an interval until Ctrl-C; the exit code is that of the last verdict."""
    from spark_cluster.cli.commands.verify_rdma import conclude, not_judged, nothing_runs
    from spark_cluster.cli.running import activate

    with activate(request, endless=True) as active:
        last: tuple[Verdict, Turn] | None = None
        others: list[str] = []
        for result, turn in _verdicts(active, interval):
            if result is None and (late := _unseen(active, turn)):
                active.say(f"{_clock()}  what runs is not known yet: {late}")
                continue
            if result is None and last is None:
                raise nothing_runs(active)
            if result is None:
                active.say(f"{_clock()}  nothing of ours runs")
                continue
            _tell(active, result, last[0] if last else None)
            last = result, turn
            before, others = others, not_judged(turn.known)
            for line in others if others != before else ():
                active.say(f"          {line}")
        if last is None:
            raise _too_early()
        return conclude(active, last[0], last[1].known, [], table=False)


def _unseen(active: Active, turn: Turn) -> str:
    """Hosts that are there and whose containers were not read yet, and why: late is not gone."""
    from spark_cluster.facts.docker import CONTAINERS

    told = []
    for name in active.session.alive:
        facts = turn.known.get(name)
        fact = facts.get(CONTAINERS) if facts is not None else None
        if fact is None:
            told.append(f"{name} is late")
        elif fact.error:
            told.append(f"{name}: {fact.error}")
    return "; ".join(told)


def _verdicts(
    active: Active, interval: float, patience: float | None = None
) -> Iterator[tuple[Verdict | None, Turn]]:
    """Each interval's verdict, None while nothing of ours runs."""
    from spark_cluster.steps.rdma_verdict import evaluate

    for turn in _watch(active, interval, patience).turns():
        inventory = active.request.inventory
        yield evaluate(turn.before, turn.after, inventory, known=turn.known), turn


def _watch(active: Active, interval: float, patience: float | None) -> Watch:
    from spark_cluster.steps.rdma_verdict import MOVING, STANDING
    from spark_cluster.watch.turns import Watch
    from spark_cluster.workload.served import HostFacts, to_verify

    def epoch(facts: HostFacts) -> object:
        """Another start of the engine has other logs and other grants."""
        found = to_verify(facts)
        return found and (found.host, found.head.started)

    return Watch(
        active.session,
        MOVING,
        STANDING,
        interval=interval,
        patience=patience,
        listener=active.bus,
        epoch=epoch,
    )


def _tell(active: Active, result: Verdict, previous: Verdict | None) -> None:
    """The interval's line; reasons only when the verdict or its causes changed. The journal gets
    the changes, --json every interval."""
    from spark_cluster.cli.views.console import JsonLines
    from spark_cluster.cli.views.verdict import interval_line
    from spark_cluster.core.event import Watched

    event = Watched(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        verdict=result.kind,
        code=result.code,
        reasons=result.reasons,
        tokens=result.tokens,
        seconds=round(result.seconds, 2),
        tokens_per_second=_per_second(result.tokens, result.seconds),
        rails=tuple(
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
        ),
    )
    is_news = previous is None or _gist(previous) != _gist(result)
    if is_news:
        active.bus(event)
    elif active.view is None:
        JsonLines()(event)
    active.say(interval_line(_clock(), result))
    for reason in result.reasons if is_news else ():
        active.say(f"          {reason}")


def _gist(result: Verdict) -> tuple[object, ...]:
    return result.kind, result.code, result.causes


def _per_second(count: float | None, seconds: float) -> float | None:
    if count is None or not seconds or not math.isfinite(seconds):
        return None
    return round(count / seconds, 1)


def _clock() -> str:
    return datetime.now().strftime("%H:%M:%S")


def _too_early() -> Exception:
    from spark_cluster.core.error import Interrupted

    return Interrupted(
        "stopped before the first interval was over",
        remedy="Nothing was changed. A shorter --interval gives a verdict sooner.",
    )
