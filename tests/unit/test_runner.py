"""The runner over fake hosts: what it counts, what it claims, and where it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from spark_cluster.core.error import CheckFailed, StepFailed, Unreachable
from spark_cluster.core.event import StepFinished
from spark_cluster.core.plan import PlannedStep
from spark_cluster.core.result import Result, Status, exit_code
from spark_cluster.core.step import Assessment, Change, Step, Traffic
from spark_cluster.facts.base import UndeclaredFact
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.probe import BEGIN
from spark_cluster.runner.outcome import result_of
from spark_cluster.steps.base import NoParams
from spark_cluster.steps.view import View
from spark_cluster.transport.protocol import Completed
from tests.fake_transport import failed

from . import world
from .runs import apply, lost, one, playbook, statuses
from .world import Spark, Stage, healthy, sparks, stage, swapped, unlimited

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
    assert "swapoff /swap.img" in script.partition(BEGIN)[0]
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
    host = Spark("spark-2").on(
        world.MARK, Completed(1, f"\n@@{world.MARK}host\nhostname=x\n", "cut")
    )
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
        (
            {"containers": '@@c ours 4f5e /x running 0 t {"spark-cluster.recipe":"other"}\n'},
            "no-other-run",
        ),
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


def test_what_a_changed_step_left_alone_is_told_beside_what_it_did() -> None:
    note = "1 shared memory segment left alone"
    gone = Change("/dev/shm/psm_1", "left behind", "gone", "true\n")
    planned = stage(sparks("spark-2")).run.playbook.steps[0]
    result = result_of("spark-2", planned, Assessment(notes=(note,)), [gone])
    assert result.status is Status.CHANGED
    assert result.details == ("/dev/shm/psm_1: left behind -> gone", note)


# What a step may see


def _looks(view: View, _: NoParams) -> Assessment:
    return Assessment(notes=tuple(view.facts[SWAP].active))


def _looks_elsewhere(view: View, _: NoParams) -> Assessment:
    return Assessment(notes=tuple(name for name, seen in view.all_facts.items() if SWAP in seen))


def _looks_back(view: View, _: NoParams) -> Assessment:
    return Assessment(notes=tuple(view.first[SWAP].active))


def _makes_traffic(view: View, _: NoParams) -> Traffic | None:
    return Traffic(view.name, "true\n", 5.0) if view.facts[SWAP].active else None


def _sees_nothing(_: View, __: NoParams) -> Assessment:
    return Assessment()


def _only(step: Step[View, NoParams]) -> Stage:
    """A stage whose playbook is this step, and one before it that reads the swap."""
    first = Step("first", "Look at the swap", NoParams, (SWAP.name,), _looks)
    on = stage(sparks("spark-2", "spark-3"))
    steps = (PlannedStep(0, first, NoParams()), PlannedStep(1, step, NoParams()))
    on.run.playbook = replace(on.run.playbook, steps=steps)
    return on


@pytest.mark.parametrize("assess", [_looks, _looks_elsewhere, _looks_back])
def test_a_step_that_looks_at_a_fact_it_does_not_declare_is_told(
    assess: Callable[[View, NoParams], Assessment],
) -> None:
    on = _only(Step("careless", "Look", NoParams, (MEMORY.name,), assess))
    with pytest.raises(UndeclaredFact) as caught:
        on.run.plan()
    assert str(caught.value) == (
        "the step careless looks at the fact swap, which its `reads` do not name"
    )


def test_traffic_sees_no_more_than_its_step_declares() -> None:
    on = _only(
        Step("careless", "Ask", NoParams, (MEMORY.name,), _sees_nothing, traffic=_makes_traffic)
    )
    plan = on.run.plan()
    with pytest.raises(UndeclaredFact, match="careless looks at the fact swap"):
        on.run.apply(plan)


def test_a_step_sees_what_it_declares() -> None:
    on = _only(Step("careful", "Look", NoParams, (SWAP.name,), _looks_elsewhere))
    plan = on.run.plan()
    assert plan.assessments[(1, "spark-2")].notes == ("spark-2", "spark-3")
