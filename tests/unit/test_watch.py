"""Reading again and again: one exec a host and interval, also while hosts die and come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from spark_cluster.core.error import StateUnknown, Unreachable
from spark_cluster.core.event import Event, HostLost, Note
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.rdma import COUNTERS, NCCL
from spark_cluster.watch.turns import HostFacts, Turn, Watch

from . import world
from .world import Spark, Stage, sparks, stage


def watching(
    on: Stage, epoch: Callable[[HostFacts], object] = lambda _: None, patience: float = 30.0
) -> tuple[Iterator[Turn], list[Event]]:
    told: list[Event] = []
    watch = Watch(
        on.session,
        [COUNTERS, CONTAINERS],
        [NCCL],
        interval=0.0,
        patience=patience,
        listener=told.append,
        epoch=epoch,
    )
    return watch.turns(), told


def lost(host: str) -> StateUnknown:
    return StateUnknown("the connection was lost", host=host, remedy="Run the command again.")


def asked(host: Spark) -> list[bool]:
    """Of each reading, whether it asked for what stands still, too."""
    return [f"{world.MARK}nccl'" in script for script in host.runs]


def test_one_exec_a_host_and_interval() -> None:
    hosts = sparks("spark-2", "spark-3")
    turns, _ = watching(stage(hosts))
    for _ in range(3):
        next(turns)
    assert [len(host.runs) for host in hosts] == [4, 4]
    assert [host.connections for host in hosts] == [1, 1]
    assert asked(hosts[0]) == [True, False, False, False]


def test_each_turn_begins_where_the_last_one_ended() -> None:
    hosts = sparks("spark-2")
    turns, _ = watching(stage(hosts))
    first = next(turns)
    hosts[0].texts["counters"] = world.moved(hosts[0].texts["counters"], "rocep1s0f1", 1000)
    second, third = next(turns), next(turns)

    def sent(facts: HostFacts) -> int | None:
        return facts["spark-2"][COUNTERS].devices["rocep1s0f1"].xmit_bytes

    assert [sent(first.before), sent(first.after)] == [4_000_000, 4_000_000]
    assert [sent(second.before), sent(second.after)] == [4_000_000, 4_004_000]
    assert [sent(third.before), sent(third.after)] == [4_004_000, 4_004_000]


def test_a_host_that_dies_is_missing_and_the_others_go_on() -> None:
    hosts = sparks("spark-2", "spark-3")
    turns, told = watching(stage(hosts))
    next(turns)
    hosts[1].on(world.MARK, lost("spark-3"))
    hosts[1].down = Unreachable("no route", remedy="Is it on?")
    turn = next(turns)
    assert (set(turn.before), set(turn.after)) == ({"spark-2", "spark-3"}, {"spark-2"})
    assert set(turn.known) == {"spark-2", "spark-3"}
    turn = next(turns)
    assert set(turn.before) == set(turn.after) == {"spark-2"}
    assert [event.host for event in told if isinstance(event, HostLost)] == ["spark-3"]


def test_a_host_that_comes_back_is_read_again() -> None:
    hosts = sparks("spark-2", "spark-3")
    on = stage(hosts)
    turns, told = watching(on)
    next(turns)
    hosts[1].on(world.MARK, lost("spark-3"))
    next(turns)
    hosts[1].on(world.MARK, hosts[1].probe)
    deadline = time.monotonic() + 30
    turn = next(turns)
    while "spark-3" not in turn.after:
        assert time.monotonic() < deadline
        turn = next(turns)
    assert "spark-3" not in turn.before  # it has no beginning: this interval stays unknown
    assert set(next(turns).before) == {"spark-2", "spark-3"}
    assert [event.host for event in told if isinstance(event, Note)] == ["spark-3"]
    assert hosts[1].connections == 2
    assert asked(hosts[1]).count(True) == 2


def test_a_host_that_was_never_reached_is_knocked_at() -> None:
    hosts = sparks("spark-2", "spark-3")
    hosts[1].down = Unreachable("no route", remedy="Is it on?")
    on = stage(hosts)
    turns, _ = watching(on)
    assert set(next(turns).after) == {"spark-2"}
    hosts[1].down = None
    deadline = time.monotonic() + 30
    while "spark-3" not in next(turns).after:
        assert time.monotonic() < deadline


def test_nobody_waits_for_a_host_that_is_late() -> None:
    """It is missing until its reading comes, which then counts; it is not lost."""
    hosts = sparks("spark-2", "spark-3")
    turns, told = watching(stage(hosts), patience=0.1)
    next(turns)
    answer = threading.Event()

    def late(script: str) -> str:
        answer.wait(30)
        return hosts[1].probe(script)

    hosts[1].on(world.MARK, late)
    assert set(next(turns).after) == {"spark-2"}
    began = time.monotonic()
    assert set(next(turns).after) == {"spark-2"}
    assert time.monotonic() - began < 5
    answer.set()
    deadline = time.monotonic() + 30
    turn = next(turns)
    while "spark-3" not in turn.after:
        assert time.monotonic() < deadline
        turn = next(turns)
    assert "spark-3" not in turn.before
    assert set(next(turns).before) == {"spark-2", "spark-3"}
    assert told == []


def test_another_epoch_reads_everything_again() -> None:
    hosts = sparks("spark-2")
    hosts[0].texts["containers"] = world.running("spark-2")
    turns, _ = watching(
        stage(hosts), lambda facts: [c.started for c in facts["spark-2"][CONTAINERS].containers]
    )
    next(turns)
    text = hosts[0].texts["containers"]
    hosts[0].texts["containers"] = text.replace("2026-11-21T03:15", "2026-11-21T05:15")
    next(turns)
    next(turns)
    next(turns)
    assert asked(hosts[0]) == [True, False, False, True, False]


def test_a_stop_ends_it() -> None:
    on = stage(sparks("spark-2"))
    turns, _ = watching(on)
    next(turns)
    on.session.stop.request()
    with pytest.raises(StopIteration):
        next(turns)
