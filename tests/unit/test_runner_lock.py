"""The lock of a run: who holds it, when it is taken and given back, and what its loss ends."""

from __future__ import annotations

import pytest

from spark_cluster.core.error import Locked, SparkError, StepFailed, Unreachable
from spark_cluster.core.result import Status, exit_code
from spark_cluster.facts.lock import Holder
from spark_cluster.transport.protocol import Completed
from tests.fake_transport import failed

from .runs import apply, lost, one, statuses
from .world import healthy, sparks, stage, swapped, unlimited


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
        host.texts["lock"] = "/run/spark-cluster.lock teardown by eve@desk (pid 7) since noon\n"
        return host.probe(script)

    host.on("limits.d/90-spark-cluster.conf.spark", take_over)
    results = apply(stage([host, *sparks("spark-3")]))
    assert statuses(results, "memlock")["spark-2"] == "changed"
    result = one(results, Status.FAILED)
    assert isinstance(result.error, Locked)
    assert "taken over by teardown by eve@desk (pid 7) since noon" in result.error.message
    assert not any("swapoff" in text for text in host.changes)
    assert exit_code(results) == 5


def test_a_lock_that_nobody_took_over_stops_the_host_too() -> None:
    host = swapped()
    on = stage([host, *sparks("spark-3")])
    locks = on.run._locks
    locks.take(preempt=(), needed=True, lose=lambda *_: None)
    there = on.session.hosts["spark-2"]
    locks.check(there)
    execs = host.execs
    assert execs == 1, "a lock that is held costs no reading"
    host.held[0].kill()
    # Its process may outlive its channel for a moment.
    for holder in ("", f"/run/spark-cluster.lock {locks._holder}\n"):
        host.texts["lock"] = holder
        with pytest.raises(Locked) as caught:
            locks.check(there)
        assert caught.value.message == (
            "the lock of spark-2 was lost: the process that held it has ended"
        )


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (lost("spark-2"), Status.UNKNOWN),
        (Unreachable("spark-2: gone", host="spark-2", remedy="Is it on?"), Status.UNREACHABLE),
    ],
)
def test_a_lock_that_went_with_its_host_is_not_called_taken_over(
    error: SparkError, status: Status
) -> None:
    """The host restarts between two steps: the lock's channel is the first to know."""
    host = swapped()
    host.texts["access"] = unlimited().texts["access"]

    def restarts(script: str) -> str:
        host.texts["access"] = healthy("access", "spark-2")
        said = host.probe(script)
        host.held[0].kill()
        host.on(lambda _: True, error)
        return said

    host.on("limits.d/90-spark-cluster.conf.spark", restarts)
    results = apply(stage([host, *sparks("spark-3")]))
    assert one(results, status).host == "spark-2"
    assert exit_code(results) == 3


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


@pytest.mark.parametrize(
    ("holder", "heeded"),
    [
        ("bootstrap by eve@desk (pid 7) since noon", True),
        ("", False),
    ],
)
def test_a_refusal_while_another_run_is_at_work_says_so(holder: str, heeded: bool) -> None:
    """What stands in the way is that run's half-done work: its remedy would be wrong."""
    host = swapped("spark-2")
    host.texts["host"] = healthy("host", "spark-2") + "missing=netplan\n"
    host.texts["lock"] = f"/run/spark-cluster.lock {holder}\n" if holder else ""
    on = stage([host, *sparks("spark-3")])
    refused = on.run.refusals(on.run.plan())
    assert [result.host for result in refused] == ["spark-2"]
    if not heeded:
        on.run.heed_others(refused)
        return
    with pytest.raises(Locked) as caught:
        on.run.heed_others(refused)
    assert holder in caught.value.message
    assert caught.value.exit_code == 5


def test_a_holder_is_read_into_its_fields() -> None:
    text = "launch by ada@desk (pid 71) since 2026-11-21 03:15:00 UTC"
    holder = Holder.of(text)
    assert (holder.verb, holder.process, holder.since) == (
        "launch", ("desk", 71), "2026-11-21 03:15:00 UTC",
    )  # fmt: skip
    assert str(holder) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "by ada",
        "launch by a@b (pid 3) since zzzz",
        "launch by a@b (pid x) since 2026",
        "x" * 9999,
    ],
)
def test_a_holder_in_another_form_is_nobodys_process(text: str) -> None:
    """A host may say anything: it must not pass for somebody who came later."""
    holder = Holder.of(text)
    assert (holder.process, holder.since) == (None, "")
    assert str(holder) == text
