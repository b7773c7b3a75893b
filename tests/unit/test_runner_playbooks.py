"""Launch, verify-rdma and teardown, carried out by the runner over fake hosts."""

from __future__ import annotations

from spark_cluster.core.result import Status, exit_code
from spark_cluster.facts.rdma import COUNTERS
from spark_cluster.steps.view import Options
from tests.fake_transport import failed

from . import world
from .runs import apply, lost, one, statuses
from .world import Spark, launching, stage, torn


def test_a_launch_ends_with_a_real_token() -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    on = stage(hosts, "launch")
    plan = on.run.plan()
    assert on.run.refusals(plan) == []
    results = on.run.apply(plan)
    assert exit_code(results) == 0
    canary = next(r for r in results if r.step == "canary" and r.host == "spark-2")
    assert canary.status is Status.OK
    assert "1 token" in canary.summary
    starts = ["docker run" in text for host in hosts for text in host.changes]
    assert starts.count(True) == 2
    assert [host.connections for host in hosts] == [1, 1]


def test_a_second_launch_changes_nothing() -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    assert exit_code(apply(stage(hosts, "launch"))) == 0
    before = [len(host.changes) for host in hosts]
    on = stage(hosts, "launch")
    plan = on.run.plan()
    assert plan.change_count == 0
    assert on.run.refusals(plan) == []
    assert exit_code(on.run.apply(plan)) == 0
    assert [len(host.changes) for host in hosts] == before


def test_a_launch_without_a_token_has_failed() -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    hosts[0].on(
        "/v1/completions",
        '{"error":{"message":"EngineCore is dead"}}\n@@http 500 1.0 s \n',
    )
    results = apply(stage(hosts, "launch"))
    result = one(results, Status.FAILED)
    assert result.step == "canary"
    assert "EngineCore is dead" in result.summary
    assert exit_code(results) == 4


def test_a_worker_that_dies_while_ray_is_waited_for_ends_the_wait() -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    alone = world.ray_nodes().replace("192.168.100.11", "192.168.100.99")
    hosts[0].effect("docker run", ray=alone)
    dead = world.running("spark-3", state="exited", status=1)
    hosts[1].effect("docker run", containers=dead)
    results = apply(stage(hosts, "launch"))
    assert exit_code(results) != 0
    assert {r.step for r in results if not r.status.good} <= {"containers", "ray-joined"}
    assert any("vllm-worker" in (r.error.message if r.error else "") for r in results)


def test_a_teardown_removes_what_is_ours_and_looks_again() -> None:
    hosts = [torn("spark-2"), torn("spark-3"), Spark("spark-1")]
    results = apply(stage(hosts, "teardown"))
    assert statuses(results, "containers") == {
        "spark-2": "changed",
        "spark-3": "changed",
        "spark-1": "ok",
    }
    assert set(statuses(results, "teardown-check").values()) == {"ok"}
    assert exit_code(results) == 0
    assert hosts[2].changes == []


def test_a_teardown_goes_on_where_another_host_fails() -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    hosts[0].on("docker rm --force", failed(1, "Error response from daemon: device is busy"))
    seconds = ("teardown-check.seconds=0.05",)
    on = stage(hosts, "teardown", settings=seconds, carry_on=True)
    results = apply(on)
    assert statuses(results, "containers") == {"spark-2": "failed", "spark-3": "changed"}
    assert statuses(results, "teardown-check") == {"spark-2": "failed", "spark-3": "ok"}
    assert hosts[1].texts["containers"] == ""
    assert exit_code(results) != 0
    assert [host.held[0].released for host in hosts] == [True, True]


def test_a_teardown_goes_on_where_another_host_is_lost() -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    hosts[0].on("docker rm --force", lost("spark-2"))
    seconds = ("teardown-check.seconds=0.05",)
    results = apply(stage(hosts, "teardown", settings=seconds, carry_on=True))
    assert statuses(results, "containers") == {"spark-2": "unknown", "spark-3": "changed"}
    assert statuses(results, "teardown-check")["spark-3"] == "ok"
    assert exit_code(results) == 3


def test_without_carry_on_a_failure_ends_it_for_all() -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    hosts[0].on("docker rm --force", failed(1, "device is busy"))
    results = apply(stage(hosts, "teardown"))
    assert statuses(results, "teardown-check") == {}


def test_a_teardown_with_force_kills_and_takes_any_lock() -> None:
    host = torn("spark-2")
    on = stage([host], "teardown", options=Options(force=True))
    apply(on)
    assert "docker stop -t 0 vllm-head" in "".join(host.changes)
    assert "bootstrap\\ by\\ *" in host.held[0].script


def test_a_verification_reads_makes_tokens_and_reads() -> None:
    hosts = [Spark(name, {"containers": world.running(name)}) for name in world.PAIR]

    def tokens(_: str) -> str:
        for host in hosts:
            host.texts["counters"] = world.moved(host.texts["counters"], "rocep1s0f1", 12_400_000)
        return world.tokens(32)

    hosts[0].on("/v1/completions", tokens)
    results = apply(stage(hosts, "verify-rdma"))
    assert exit_code(results) == 0
    assert statuses(results, "rdma-verdict") == {"spark-2": "ok", "spark-3": "skipped"}
    assert [host.held for host in hosts] == [[], []]  # it changes nothing and needs no lock
    assert [len(host.runs) for host in hosts] == [3, 2]


def test_the_verdict_after_a_launch_costs_two_readings() -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    assert exit_code(apply(stage(hosts, "launch"))) in (0, 4)
    for host in hosts:
        read = [text for text in host.runs if f"spark-cluster-fact {COUNTERS.name}'" in text]
        assert len(read) == 2
