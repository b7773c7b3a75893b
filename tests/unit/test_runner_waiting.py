"""Waiting steps, and Ctrl-C in every state of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster.core.error import Interrupted, Locked
from spark_cluster.core.event import Progress
from spark_cluster.core.result import Status, exit_code

from . import world
from .runs import apply, one, playbook, statuses
from .world import Spark, healthy, launching, sparks, stage, swapped, unlimited

# Waiting


def test_a_waiting_step_reads_until_it_holds() -> None:
    host = Spark("spark-2")
    answers = [healthy("ping", "spark-2").replace("yes", "no")] * 3 + [healthy("ping", "spark-2")]

    def probe(script: str) -> str:
        if f"{world.MARK}ping'" in script:
            host.texts["ping"] = answers.pop(0) if len(answers) > 1 else answers[0]
        return host.probe(script)

    host.on(world.MARK, probe)
    on = stage([host, *sparks("spark-3")])
    results = apply(on)
    assert statuses(results, "jumbo-ping") == {"spark-2": "ok", "spark-3": "ok"}
    assert len(host.runs) == 4
    told = [event for event in on.events if isinstance(event, Progress)]
    assert told
    assert "does not answer a 8972 byte ping" in told[0].message


def test_a_wait_ends_with_its_time_and_says_what_is_missing(tmp_path: Path) -> None:
    left = world.running("spark-2")
    host = Spark("spark-2", {"containers": left})
    path = playbook(tmp_path, "{step: teardown-check, with: {seconds: 0.05}}")
    results = apply(stage([host], path=path))
    result = one(results, Status.FAILED)
    assert result.error is not None
    assert result.error.code == "SERVE008"
    assert "container vllm-head is running" in result.error.message


def test_a_wait_without_a_diagnosis_says_what_it_waited_for(tmp_path: Path) -> None:
    hosts = [Spark(name, {"containers": world.running(name)}) for name in world.PAIR]
    path = playbook(tmp_path, "{step: ray-head, with: {seconds: 0.05}}")
    on = stage(hosts, "launch", path=path)
    results = apply(on)
    head = next(result for result in results if result.host == "spark-2")
    assert head.status is Status.FAILED
    assert head.error is not None
    assert "Ray does not answer" in head.error.message
    told = {event.host for event in on.events if isinstance(event, Progress)}
    assert told == {"spark-2"}  # the worker waits silently


def test_a_silent_wait_that_ends_in_failure_says_what_for(tmp_path: Path) -> None:
    hosts = [Spark(name, {"containers": world.running(name)}) for name in world.PAIR]
    path = playbook(tmp_path, "{step: ray-head, with: {seconds: 0.05}}")
    for result in apply(stage(hosts, "launch", path=path)):
        assert result.status.good or not result.summary.endswith(":")


def test_a_lock_lost_while_waiting_ends_the_launch() -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    hosts[0].effect("docker run", ray="")

    def taken_over(script: str) -> str:
        if f"{world.MARK}ray'" in script and hosts[0].held:
            hosts[0].held[0].kill()
        return hosts[0].probe(script)

    hosts[0].on(world.MARK, taken_over)
    on = stage(hosts, "launch", settings=("ray-head.seconds=2", "ray-joined.seconds=2"))
    results = apply(on)
    ended = next(r for r in results if r.host == "spark-2" and not r.status.good)
    assert ended.step == "ray-head"
    assert isinstance(ended.error, Locked)
    assert "was lost" in ended.error.message
    assert exit_code(results) == 5
    assert statuses(results, "serve") == {}


# Ctrl-C


def test_after_ctrl_c_the_step_in_flight_finishes_and_nothing_new_begins() -> None:
    host = unlimited()
    host.texts["swap"] = swapped().texts["swap"]
    on = stage([host, *sparks("spark-3")])

    def stop(script: str) -> str:
        on.session.stop.request()
        return host.probe(script)

    host.on("limits.d/90-spark-cluster.conf.spark", stop)
    plan = on.run.plan()
    with pytest.raises(Interrupted) as caught:
        on.run.apply(plan)
    assert caught.value.exit_code == 130
    assert statuses(on.run.results, "memlock")["spark-2"] == "changed"
    assert not any("swapoff" in text for text in host.changes)
    assert [held.released for held in host.held] == [True]


def test_a_ctrl_c_while_reading_ends_a_plan() -> None:
    host = swapped()
    on = stage([host, *sparks("spark-3")])

    def stop(script: str) -> str:
        on.session.stop.request()
        return host.probe(script)

    host.on(world.MARK, stop)
    with pytest.raises(Interrupted) as caught:
        on.run.plan()
    assert "stopped before the end of bootstrap" in caught.value.message
    assert caught.value.remedy
    assert host.execs == 1
    assert host.held == []


def test_a_ctrl_c_while_waiting_ends_the_wait() -> None:
    host = Spark("spark-2", {"ping": healthy("ping", "spark-2").replace("yes", "no")})
    on = stage([host, *sparks("spark-3")])
    plan = on.run.plan()

    def stop(script: str) -> str:
        on.session.stop.request()
        return host.probe(script)

    host.on(world.MARK, stop)
    with pytest.raises(Interrupted):
        on.run.apply(plan)
    assert statuses(on.run.results, "jumbo-ping")["spark-2"] == "skipped"
    assert host.execs == 2


def test_a_second_ctrl_c_stops_the_remote_commands() -> None:
    hosts = sparks("spark-2", "spark-3")
    on = stage(hosts)
    on.session.abort()
    assert [host.aborts for host in hosts] == [1, 1]
