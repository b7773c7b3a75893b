"""The runner over fake hosts: what it counts, what it claims, and where it stops."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from spark_cluster.core.error import (
    CheckFailed,
    Interrupted,
    Locked,
    StateUnknown,
    StepFailed,
    Unreachable,
)
from spark_cluster.core.event import Event, Guarded, Progress, StepFinished
from spark_cluster.core.result import Result, Status, exit_code
from spark_cluster.runner import guard_scripts
from spark_cluster.runner.journal import Journal, new_run
from spark_cluster.runner.judge import change_script
from spark_cluster.steps.view import Options
from spark_cluster.transport.fake import failed
from spark_cluster.transport.protocol import Completed

from . import world
from .cases import write
from .world import Spark, Stage, bare, healthy, sparks, stage, swapped, unlimited


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting steps read again at once."""
    monkeypatch.setattr("spark_cluster.runner.run._POLL", lambda _: 0.0)


def playbook(folder: Path, *steps: str) -> Path:
    lines = "".join(f"  - {step}\n" for step in steps)
    return write(folder / "mine.yaml", f"name: mine\ntitle: Mine\nsteps:\n{lines}")


def apply(on: Stage) -> list[Result]:
    return on.run.apply(on.run.plan())


def statuses(results: Sequence[Result], step: str) -> dict[str, str]:
    return {result.host: result.status.value for result in results if result.step == step}


def one(results: Sequence[Result], status: Status) -> Result:
    (found,) = [result for result in results if result.status is status]
    return found


def lost(host: str) -> StateUnknown:
    return StateUnknown("the connection was lost", host=host, remedy="Run the command again.")


# Counting


def test_a_plan_costs_one_connection_and_one_exec_a_host() -> None:
    hosts = sparks()
    plan = stage(hosts).run.plan()
    assert plan.change_count == 0
    assert [host.connections for host in hosts] == [1, 1, 1]
    assert [host.execs for host in hosts] == [1, 1, 1]


def test_a_warm_bootstrap_costs_one_exec_a_host_and_changes_nothing() -> None:
    hosts = sparks()
    results = apply(stage(hosts))
    assert [host.connections for host in hosts] == [1, 1, 1]
    assert [host.execs for host in hosts] == [1, 1, 1]
    assert {result.status for result in results} == {Status.OK, Status.SKIPPED}
    assert len(results) == 3 * 11
    assert exit_code(results) == 0


def test_a_plan_with_differences_takes_no_lock_and_runs_nothing() -> None:
    hosts = [swapped(), unlimited("spark-3")]
    on = stage(hosts)
    assert on.run.plan().change_count == 2
    assert [host.execs for host in hosts] == [1, 1]
    assert [host.changes for host in hosts] == [[], []]
    assert [host.held for host in hosts] == [[], []]


def test_a_changed_step_costs_one_exec_more() -> None:
    hosts = [unlimited(), *sparks("spark-3")]
    results = apply(stage(hosts))
    assert statuses(results, "memlock") == {"spark-2": "changed", "spark-3": "ok"}
    assert [len(host.runs) for host in hosts] == [2, 1]
    assert [host.connections for host in hosts] == [1, 1]
    assert [len(host.held) for host in hosts] == [1, 1]


def test_two_changed_steps_cost_two() -> None:
    host = unlimited()
    host.texts["swap"] = swapped().texts["swap"]
    host.effect("swapoff /swap.img", swap=healthy("swap", "spark-2"))
    results = apply(stage([host, *sparks("spark-3")]))
    assert exit_code(results) == 0
    assert len(host.runs) == 3


def test_the_commands_and_the_second_reading_are_one_script() -> None:
    host = swapped()
    apply(stage([host, *sparks("spark-3")]))
    _, script = host.runs
    assert "swapoff /swap.img" in script.partition(world.MARK)[0]
    assert f"{world.MARK}swap'" in script


def test_what_a_change_makes_stale_is_read_again_and_no_more() -> None:
    """An MTU that changes on one host concerns the pings of the other."""
    low = healthy("links", "spark-2").replace('"mtu":9000', '"mtu":1500')
    host = Spark("spark-2", {"links": low})
    host.effect("mtu 9000", links=healthy("links", "spark-2"))
    other = Spark("spark-3")
    results = apply(stage([host, other]))
    assert statuses(results, "mtu") == {"spark-2": "changed", "spark-3": "ok"}
    read_again = [script for script in other.runs[1:] if world.MARK in script]
    assert len(read_again) == 1
    assert f"{world.MARK}ping'" in read_again[0]
    assert not any(f"{world.MARK}docker'" in script for script in host.runs[1:])


# Claims


def test_changed_is_claimed_with_what_changed() -> None:
    host = swapped()
    on = stage([host, *sparks("spark-3")])
    results = apply(on)
    result = one(results, Status.CHANGED)
    assert (result.host, result.step) == ("spark-2", "swap")
    assert result.details == ("swap /swap.img: on, 8 GiB -> off",)
    assert host.texts["swap"] == healthy("swap", "spark-2")
    finished = [event for event in on.events if isinstance(event, StepFinished)]
    assert [(e.host, e.status) for e in finished if e.step == "swap"] == [
        ("spark-2", "changed"),
        ("spark-3", "ok"),
    ]


def test_a_second_reading_that_still_differs_is_a_failure() -> None:
    host = Spark("spark-2", {"swap": swapped().texts["swap"]})  # swapoff without an effect
    results = apply(stage([host, *sparks("spark-3")]))
    result = one(results, Status.FAILED)
    assert isinstance(result.error, StepFailed)
    assert "the second reading still differs: swap /swap.img is still on, 8 GiB" in str(
        result.error
    )
    assert result.error.remedy
    assert exit_code(results) == 1


def test_a_failing_command_fails_with_its_stderr_and_nothing_after_it_runs() -> None:
    host = swapped()
    noise = "".join(f"line {number}\n" for number in range(20))
    host.on("swapoff /swap.img", failed(255, f"{noise}swapoff: Cannot allocate memory\n"))
    on = stage([host, *sparks("spark-3")])
    results = apply(on)
    result = one(results, Status.FAILED)
    assert (result.host, result.step) == ("spark-2", "swap")
    error = result.error
    assert error is not None
    assert "the commands ended with status 255" in error.message
    assert error.command == "swapoff /swap.img"
    assert (error.stderr or "").splitlines()[-1] == "swapoff: Cannot allocate memory"
    assert len((error.stderr or "").splitlines()) <= 10
    assert exit_code(results) == 1
    assert statuses(results, "docker") == {}
    assert len(host.runs) == 2


def test_commands_past_their_time_say_so() -> None:
    host = swapped()
    host.on("swapoff /swap.img", Completed(124, "", ""))
    result = one(apply(stage([host, *sparks("spark-3")])), Status.FAILED)
    assert result.error is not None
    assert "not within 600 s" in result.error.message


def test_the_sibling_finishes_the_step_and_begins_no_other(tmp_path: Path) -> None:
    hosts = [unlimited("spark-2"), unlimited("spark-3")]
    hosts[0].on("limits.d/90-spark-cluster.conf.spark", failed(1, "No space left on device"))
    hosts[1].texts["swap"] = swapped("spark-3").texts["swap"]
    path = playbook(tmp_path, "step: memlock", "step: swap")
    results = apply(stage(hosts, path=path))
    assert statuses(results, "memlock") == {"spark-2": "failed", "spark-3": "changed"}
    assert statuses(results, "swap") == {}
    assert not any("swapoff" in text for text in hosts[1].changes)


def test_a_check_that_does_not_hold_ends_with_4() -> None:
    host = Spark("spark-2", {"gpu": "sh: nvidia-smi: not found\n"})
    results = apply(stage([host, *sparks("spark-3")]))
    result = one(results, Status.FAILED)
    assert isinstance(result.error, CheckFailed)
    assert result.error.code == "GPU001"
    assert exit_code(results) == 4


# The world fails


def test_a_connection_that_dies_in_a_step_leaves_it_unknown() -> None:
    host = swapped()
    host.on("swapoff /swap.img", lost("spark-2"))
    other = swapped("spark-3")
    results = apply(stage([host, other]))
    assert statuses(results, "swap") == {"spark-2": "unknown", "spark-3": "changed"}
    assert statuses(results, "docker") == {}
    assert exit_code(results) == 3
    assert sum("swapoff" in text for text in host.changes) == 1  # never replayed


def test_the_next_run_resolves_it_by_reading() -> None:
    host = swapped()
    host.on("swapoff /swap.img", lost("spark-2"))
    apply(stage([host, *sparks("spark-3")]))
    host.texts["swap"] = healthy("swap", "spark-2")  # it had run after all
    before = len(host.changes)
    results = apply(stage([host, *sparks("spark-3")]))
    assert exit_code(results) == 0
    assert len(host.changes) == before


def test_a_host_that_dies_while_it_is_read_ends_the_run_before_any_change() -> None:
    dead = Spark("spark-2").on(world.MARK, Unreachable("gone", remedy="Look at its cable."))
    other = swapped("spark-3")
    results = apply(stage([dead, other]))
    assert one(results, Status.UNREACHABLE).host == "spark-2"
    assert exit_code(results) == 3
    assert other.changes == []


def test_a_probe_that_breaks_off_is_no_reading() -> None:
    host = Spark("spark-2").on(world.MARK, Completed(1, f"\n{world.MARK}host\nhostname=x\n", "cut"))
    results = apply(stage([host, *sparks("spark-3")]))
    result = one(results, Status.FAILED)
    assert result.error is not None
    assert "the probe ended with status 1" in result.error.message


def test_a_host_that_cannot_be_reached_is_lost_and_told() -> None:
    down, other = Spark("spark-2"), Spark("spark-3")
    down.down = Unreachable("no route to host", remedy="Is it on?")
    on = stage([down, other])
    assert list(on.session.lost) == ["spark-2"]
    assert on.session.alive == ["spark-3"]
    assert len(on.told("host_lost")) == 1


# The lock


def test_a_host_in_use_ends_the_run_and_names_the_holder() -> None:
    first, second = swapped("spark-2"), swapped("spark-3")
    second.on("exec 9>>", Completed(75, "held launch by eve@desk (pid 7) since noon\n", ""))
    on = stage([first, second])
    with pytest.raises(Locked) as caught:
        apply(on)
    assert "launch by eve@desk (pid 7) since noon" in caught.value.message
    assert (caught.value.host, caught.value.exit_code) == ("spark-3", 5)
    assert caught.value.remedy
    assert first.changes == second.changes == []
    assert [held.released for held in first.held] == [True]


def test_the_lock_is_taken_before_a_change_and_released_after() -> None:
    host = swapped()
    apply(stage([host, *sparks("spark-3")]))
    order = ["exec 9>>" in script for script in host.scripts]
    assert order == [False, True, False]
    assert [held.released for held in host.held] == [True]
    assert "'bootstrap by " in host.held[0].script


def test_the_lock_is_released_when_a_step_fails() -> None:
    host = swapped()
    host.on("swapoff /swap.img", failed())
    apply(stage([host, *sparks("spark-3")]))
    assert [held.released for held in host.held] == [True]


def test_a_lock_that_was_taken_over_stops_the_host() -> None:
    host = swapped()
    host.texts["access"] = unlimited().texts["access"]

    def take_over(script: str) -> str:
        host.held[0].kill()
        host.texts["access"] = healthy("access", "spark-2")
        return host.probe(script)

    host.on("limits.d/90-spark-cluster.conf.spark", take_over)
    results = apply(stage([host, *sparks("spark-3")]))
    assert statuses(results, "memlock")["spark-2"] == "changed"
    result = one(results, Status.FAILED)
    assert isinstance(result.error, Locked)
    assert not any("swapoff" in text for text in host.changes)
    assert exit_code(results) == 5


def test_a_lock_taken_from_another_is_told() -> None:
    host = swapped()
    host.on("exec 9>>", "taken-from launch by eve@desk (pid 7)\n")
    on = stage([host, *sparks("spark-3")])
    apply(on)
    assert any("launch by eve@desk" in str(event) for event in on.told("note"))


def test_no_flock_on_the_host_is_a_failure_with_a_remedy() -> None:
    host = swapped()
    host.on("exec 9>>", Completed(127, "", "sh: flock: not found"))
    with pytest.raises(StepFailed) as caught:
        apply(stage([host, *sparks("spark-3")]))
    assert "could not be taken" in caught.value.message
    assert "flock" in caught.value.remedy


# Refusals


def refusals(on: Stage) -> list[Result]:
    return on.run.refusals(on.run.plan())


def test_all_refusals_are_collected_before_any_change() -> None:
    hosts = [
        Spark("spark-2", {"image": "", "memory": "MemTotal: 125411328 kB\nMemAvailable: 5 kB\n"}),
        Spark("spark-3", {"model": ""}),
    ]
    found = refusals(stage(hosts, "launch"))
    assert {(result.host, result.step) for result in found} == {
        ("spark-2", "image"),
        ("spark-2", "memory"),
        ("spark-3", "model-files"),
    }
    assert exit_code(found) == 4
    assert [host.changes for host in hosts] == [[], []]


@pytest.mark.parametrize(
    ("texts", "step"),
    [
        ({"memory": "MemTotal: 125411328 kB\nMemAvailable: 5 kB\n"}, "memory"),
        ({"ports": "LISTEN 0 1 *:8000 *:*\n"}, "ports-free"),
        ({"containers": 'c /x running 0 t {"spark-cluster.recipe":"other"}\n'}, "no-other-run"),
        ({"disk": "Avail Mounted\n1 /\n"}, "disk-space"),
    ],
)
def test_a_launch_is_refused_with_its_reason(texts: dict[str, str], step: str) -> None:
    found = refusals(stage([Spark("spark-2", texts), Spark("spark-3")], "launch"))
    assert [(result.host, result.step) for result in found] == [("spark-2", step)]
    assert found[0].error is not None
    assert found[0].error.remedy


def test_what_an_earlier_step_will_mend_is_no_refusal() -> None:
    """Without an address there is no GID yet, and netplan will set it."""
    gids = healthy("gids", "spark-2").replace("c0a8:640a", "c0a8:6463")
    links = healthy("links", "spark-2").replace("192.168.100.10", "192.168.100.99")
    host = Spark("spark-2", {"gids": gids, "links": links})
    assert refusals(stage([host, *sparks("spark-3")])) == []


def test_what_may_come_by_waiting_is_no_refusal() -> None:
    host = Spark("spark-2", {"ping": healthy("ping", "spark-2").replace("yes", "no")})
    assert refusals(stage([host, *sparks("spark-3")])) == []


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
    path = playbook(tmp_path, "{step: gone, with: {seconds: 0.05}}")
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


# Launch, verify, teardown


def launching(name: str) -> Spark:
    """A host on which docker run and docker exec do what they should."""
    host = Spark(name)
    host.carries = world.TOKEN_UNITS
    host.effect("docker run", containers=world.running(name, serving=False))
    if name == "spark-2":
        host.effect("docker run", ray=world.ray_nodes())
        host.effect("docker exec --detach", containers=world.running(name), server=world.SERVER_UP)
    host.effect("sitecustomize.py", files=world.deployment().files[0].path)
    return host


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
        '{"error":{"message":"EngineCore is dead"}}\nspark-cluster: HTTP 500 1.0 s \n',
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


def torn(name: str) -> Spark:
    host = Spark(name, {"containers": world.running(name)})
    return host.effect("docker rm --force", containers="")


def test_a_teardown_removes_what_is_ours_and_looks_again() -> None:
    hosts = [torn("spark-2"), torn("spark-3"), Spark("spark-1")]
    results = apply(stage(hosts, "teardown"))
    assert statuses(results, "containers") == {
        "spark-2": "changed",
        "spark-3": "changed",
        "spark-1": "ok",
    }
    assert set(statuses(results, "gone").values()) == {"ok"}
    assert exit_code(results) == 0
    assert hosts[2].changes == []


def test_a_teardown_goes_on_where_another_host_fails() -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    hosts[0].on("docker rm --force", failed(1, "Error response from daemon: device is busy"))
    seconds = ("gone.seconds=0.05",)
    on = stage(hosts, "teardown", settings=seconds, carry_on=True)
    results = apply(on)
    assert statuses(results, "containers") == {"spark-2": "failed", "spark-3": "changed"}
    assert statuses(results, "gone") == {"spark-2": "failed", "spark-3": "ok"}
    assert hosts[1].texts["containers"] == ""
    assert exit_code(results) != 0
    assert [host.held[0].released for host in hosts] == [True, True]


def test_a_teardown_goes_on_where_another_host_is_lost() -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    hosts[0].on("docker rm --force", lost("spark-2"))
    seconds = ("gone.seconds=0.05",)
    results = apply(stage(hosts, "teardown", settings=seconds, carry_on=True))
    assert statuses(results, "containers") == {"spark-2": "unknown", "spark-3": "changed"}
    assert statuses(results, "gone")["spark-3"] == "ok"
    assert exit_code(results) == 3


def test_without_carry_on_a_failure_ends_it_for_all() -> None:
    hosts = [torn("spark-2"), torn("spark-3")]
    hosts[0].on("docker rm --force", failed(1, "device is busy"))
    results = apply(stage(hosts, "teardown"))
    assert statuses(results, "gone") == {}


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


# The network guard


class Clock:
    """Time that goes on only while somebody waits, and then twenty times as fast."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += 20 * seconds
        return False


def guarded(hosts: Sequence[Spark], monkeypatch: pytest.MonkeyPatch) -> Stage:
    clock = Clock()
    monkeypatch.setattr("spark_cluster.runner.guard.time", clock)
    on = stage(hosts, "bootstrap")
    monkeypatch.setattr(on.session.stop, "wait", clock.wait)
    return on


def states(events: Sequence[Event], host: str) -> list[str]:
    return [e.state for e in events if isinstance(e, Guarded) and e.host == host]


def test_a_network_change_is_confirmed_over_a_new_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = [bare("spark-2"), bare("spark-3")]
    on = guarded(hosts, monkeypatch)
    results = apply(on)
    assert statuses(results, "netplan") == {"spark-2": "changed", "spark-3": "changed"}
    assert exit_code(results) == 0
    for host in hosts:
        assert states(on.events, host.name) == ["arming", "applied", "confirmed"]
        assert host.connections == 2
        assert len(host.held) == 2  # the lock is taken again over the new connection
        (confirm,) = [i for i, text in enumerate(host.scripts) if "/confirmed\n" in text]
        (arm,) = [i for i, text in enumerate(host.scripts) if "if ! netplan generate" in text]
        assert arm < confirm


def test_a_host_whose_network_is_right_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [bare("spark-2"), Spark("spark-3")]
    on = guarded(hosts, monkeypatch)
    results = apply(on)
    assert statuses(results, "netplan") == {"spark-2": "changed", "spark-3": "ok"}
    assert states(on.events, "spark-3") == []
    assert hosts[1].connections == 1


def test_what_netplan_rejects_is_not_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    host = bare("spark-2")
    host.on("if ! netplan generate", failed(65, "40-cx7.yaml:5:3: Error in network definition"))
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    results = apply(on)
    result = one(results, Status.FAILED)
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("NET005", 4)
    assert "Error in network definition" in (result.error.stderr or "")
    assert states(on.events, "spark-2") == ["arming", "rejected"]
    assert host.connections == 1
    assert statuses(results, "mtu") == {}


def test_without_its_timer_nothing_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    host = bare("spark-2")
    host.on("if ! netplan generate", failed(66, "Failed to start transient timer unit"))
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    results = apply(on)
    assert exit_code(results) == 1
    assert states(on.events, "spark-2") == ["arming", "not armed"]
    assert host.connections == 1


def test_a_change_that_silences_a_peer_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    host = bare("spark-2")
    host.effect("if ! netplan generate", ping=healthy("ping", "spark-2").replace("yes", "no"))
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    results = apply(on)
    result = next(r for r in results if r.host == "spark-2" and r.step == "netplan")
    assert result.status is Status.FAILED
    assert isinstance(result.error, CheckFailed)
    assert result.error.code == "NET006"
    assert "192.168.100.11 does not answer a 8972 byte ping" in result.error.message
    assert states(on.events, "spark-2") == ["arming", "applied", "reverted"]
    assert any("-revert /bin/sh" in text for text in host.scripts)
    assert not any("/confirmed\n" in text for text in host.scripts)
    assert exit_code(results) == 4


def test_a_connection_that_dies_while_netplan_applies_is_expected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = bare("spark-2")

    def cut(script: str) -> str:
        host.texts["netplan"] = healthy("netplan", "spark-2")
        raise lost("spark-2")

    host.on("if ! netplan generate", cut)
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    results = apply(on)
    assert statuses(results, "netplan")["spark-2"] == "changed"
    assert states(on.events, "spark-2") == ["arming", "applied", "confirmed"]


def test_a_dead_man_that_was_faster_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    host = bare("spark-2").on("/confirmed\n", failed(1))
    assert isinstance(host, Spark)
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    results = apply(on)
    result = one(results, Status.FAILED)
    assert result.error is not None
    assert result.error.code == "NET006"
    assert "guard_seconds" in result.error.remedy
    assert states(on.events, "spark-2")[-1] == "reverted"


def test_a_host_that_does_not_come_back_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    host = bare("spark-2")

    def vanish(script: str) -> str:
        host.down = Unreachable("no route to host", remedy="Is it on?")
        raise lost("spark-2")

    host.on("if ! netplan generate", vanish)
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    results = apply(on)
    result = one(results, Status.UNKNOWN)
    assert (result.host, result.step) == ("spark-2", "netplan")
    assert exit_code(results) == 3
    assert states(on.events, "spark-2") == ["arming", "applied", "waiting"]


def test_the_interface_of_ssh_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    host = bare("spark-2")
    host.texts["host"] = healthy("host", "spark-2").replace("=wlP9s9", "=enP7s7")
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    plan = on.run.plan()
    (refused,) = on.run.refusals(plan)
    assert refused.error is not None
    assert refused.error.code == "NET007"
    results = on.run.apply(plan)
    assert exit_code(results) == 4
    assert host.changes == []


def test_a_guard_that_fails_before_it_is_armed_has_changed_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = bare("spark-2")
    host.on(
        "if ! netplan generate", failed(guard_scripts.NOT_ARMED, "mkdir: No space left on device")
    )
    host.on("-revert /bin/sh", failed(127, "revert.sh: not found"))
    host.on("/reverted ]", failed(1))
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    results = apply(on)
    assert exit_code(results) == 1
    error = one(results, Status.FAILED).error
    assert error is not None
    assert "nothing was applied" in error.message
    assert "No space left" in (error.stderr or "")
    assert host.connections == 1


def test_every_reading_under_the_guard_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    host = bare("spark-2")
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    assert exit_code(apply(on)) == 0
    (arm,) = [i for i, text in enumerate(host.scripts) if "if ! netplan generate" in text]
    (confirm,) = [i for i, text in enumerate(host.scripts) if "/confirmed\n" in text]
    readings = [text for text in host.scripts[arm + 1 : confirm] if world.MARK in text]
    assert readings
    assert all(text.startswith(guard_scripts.alive(world.RUN)) for text in readings)


def test_a_slow_network_is_read_again_and_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """NetworkManager takes seconds after `netplan apply`."""
    host = bare("spark-2")
    slow = [healthy("ping", "spark-2").replace("yes", "no")] * 2 + [healthy("ping", "spark-2")]

    def probe(script: str) -> str:
        if script.startswith(guard_scripts.alive(world.RUN)):
            host.texts["ping"] = slow.pop(0) if len(slow) > 1 else slow[0]
        return host.probe(script)

    host.on(world.MARK, probe)
    host.on("if ! netplan generate", host._armed)
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    assert statuses(apply(on), "netplan")["spark-2"] == "changed"
    assert states(on.events, "spark-2") == ["arming", "applied", "confirmed"]
    assert sum(text.startswith(guard_scripts.alive(world.RUN)) for text in host.scripts) == 3


# The script of a change, by a real shell


def run_change(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = write(folder / "bin" / "logger", '#!/bin/sh\necho "$@" >> "$LOG"\n')
    program.chmod(0o755)
    return subprocess.run(
        ["/bin/sh", "-s"],
        input=change_script("RUN", "swap", commands) + "echo went on\n",
        text=True,
        capture_output=True,
        cwd=folder,
        env={"PATH": f"{folder}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LOG": str(folder / "log")},
    )


def test_a_change_that_works_is_logged_and_the_probe_follows(tmp_path: Path) -> None:
    done = run_change("touch made\n", tmp_path)
    assert (done.returncode, done.stdout) == (0, "went on\n")
    assert (tmp_path / "made").exists()
    assert (tmp_path / "log").read_text() == "-t spark-cluster run RUN: swap changed\n"


def test_a_change_whose_last_command_fails_ends_the_script(tmp_path: Path) -> None:
    done = run_change("touch made\nsh -c 'exit 7'\n", tmp_path)
    assert (done.returncode, done.stdout) == (7, "")
    assert "failed with status 7" in (tmp_path / "log").read_text()


def test_nothing_runs_after_a_command_that_failed(tmp_path: Path) -> None:
    done = run_change("sh -c 'exit 7'\ntouch on\n", tmp_path)
    assert not (tmp_path / "on").exists()
    assert done.returncode == 7


def test_an_unset_variable_ends_the_script(tmp_path: Path) -> None:
    done = run_change('echo "$NO_SUCH_THING" > on\n', tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""


# The journal


def test_the_journal_holds_the_events_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    journal = Journal(new_run(), "bootstrap")
    on = stage([swapped(), *sparks("spark-3")])
    apply(on)
    for event in on.events:
        journal(event)
    journal.close()
    lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert [line["kind"] for line in lines] == [
        event.kind for event in on.events if not isinstance(event, Progress)
    ]
    assert all(line["time"].endswith("+00:00") for line in lines)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_journal_that_cannot_be_written_says_so_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "spark-cluster", "a file, not a folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    journal = Journal(new_run(), "bootstrap")
    assert journal.problem is not None
    assert "no journal" in journal.problem
    for event in stage(sparks()).events:
        journal(event)
    journal.close()
