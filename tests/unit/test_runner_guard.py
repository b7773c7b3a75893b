"""The network guard over fake hosts: what is applied, confirmed, and taken back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from spark_cluster.core.error import CheckFailed, Unreachable
from spark_cluster.core.event import Event, Guarded
from spark_cluster.core.result import Status, exit_code
from spark_cluster.runner import guard_scripts
from tests.fake_transport import failed

from . import world
from .runs import apply, lost, one, statuses
from .world import Spark, Stage, bare, healthy, sparks, stage


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


def test_a_host_that_was_cut_off_until_its_dead_man_worked_is_not_left_locked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It holds the lock for the connection that went; the run's end must free it all the same."""
    host = bare("spark-2")

    def vanish(script: str) -> str:
        host.down = Unreachable("no route to host", remedy="Is it on?")
        raise lost("spark-2")

    host.on("if ! netplan generate", vanish)
    on = guarded([host, *sparks("spark-3")], monkeypatch)
    wait = on.session.stop.wait

    def passes(given: float) -> bool:
        if "waiting" in states(on.events, "spark-2"):
            host.down = None
        return wait(given)

    monkeypatch.setattr(on.session.stop, "wait", passes)
    results = apply(on)
    error = one(results, Status.FAILED).error
    assert error is not None
    assert error.code == "NET006"
    assert states(on.events, "spark-2") == ["arming", "applied", "waiting", "reverted"]
    first, again = host.held
    assert "kill -TERM" not in first.script
    assert "kill -TERM" in again.script
    assert again.released


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
