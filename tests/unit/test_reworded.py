"""Every message of ours in other words: the same decisions, exit codes, events and commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.actions.deploying import Choices
from spark_cluster.actions.doctor import report
from spark_cluster.actions.failover import failover
from spark_cluster.actions.launch import launch, launch_request
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.relaunch import relaunch
from spark_cluster.actions.teardown import resume, take_down, teardown_request
from spark_cluster.actions.verify.counters import verify
from spark_cluster.core.error import SparkError, Unreachable
from spark_cluster.core.event import Alarmed, Note, Progress, StepFinished
from spark_cluster.core.reason import Reason
from spark_cluster.core.result import Result
from spark_cluster.core.step import Assessment, Problem
from spark_cluster.doctor.finding import Finding
from spark_cluster.inventory.models import Inventory
from spark_cluster.rdma.deltas import Incomparable
from spark_cluster.rdma.verdict import RailRow
from spark_cluster.watch.detector import Condition
from spark_cluster.watch.responder import Remedies
from spark_cluster.watch.restarts import Attempt, Restarts
from spark_cluster.workload.served import DeadRank
from tests.fake_transport import failed
from tests.operators import Operators

from . import world
from .switched import RECIPE, both, less_memory, made, runs
from .test_rdma_verdict import CASES, verdict_of
from .watchers import Restarter, Stand, pair
from .world import Spark, down, launching, serving, torn

OTHER = "said in other words altogether"

#: What we say, by class: the fields that only a person reads.
WORDS: dict[type, tuple[str, ...]] = {
    SparkError: ("message", "remedy"),
    Problem: ("what", "remedy"),
    Result: ("summary", "details"),
    Assessment: ("notes",),
    Reason: ("text",),
    RailRow: ("note",),
    Finding: ("what", "fix"),
    Condition: ("what",),
    DeadRank: ("how",),
    Note: ("message",),
    Progress: ("message",),
    Alarmed: ("what",),
}


#: The classes of which something was made while it was said in other words.
BUILT: set[type] = set()


def reword(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls, names in WORDS.items():
        made_by = cls.__init__  # type: ignore[misc]

        def init(
            self: Any,
            *given: Any,
            _made_by: Callable[..., None] = made_by,
            _cls: type = cls,
            _names: tuple[str, ...] = names,
            **more: Any,
        ) -> None:
            _made_by(self, *given, **more)
            BUILT.add(_cls)
            for name in _names:
                said = getattr(self, name)
                other = tuple(OTHER for _ in said) if isinstance(said, tuple) else OTHER
                object.__setattr__(self, name, other if said else said)

        monkeypatch.setattr(cls, "__init__", init)
    monkeypatch.setattr(Incomparable, "text", OTHER)


def lost(switch: Inventory) -> list[Spark]:
    hosts = both(switch)
    hosts[0].down = Unreachable("spark-2: no route to host", remedy="Is it on?")
    after = made(switch, ("spark-3", "spark-1"))
    hosts[1].effect("docker run", containers=runs(after, "spark-3"), server=world.SERVER_UP)
    return hosts


def short_of_memory(switch: Inventory) -> list[Spark]:
    hosts = both(switch, "exited")
    less_memory(hosts[0])
    return hosts


def stubborn(switch: Inventory) -> list[Spark]:
    hosts = both(switch)
    hosts[0].on("docker rm", failed(1, "no"))
    return hosts


def with_a_dead_rank() -> list[Spark]:
    hosts = [Spark("spark-1"), serving("spark-2"), serving("spark-3")]
    hosts[2].texts["containers"] = world.running("spark-3", state="exited", status=137)
    return hosts


def without_counters() -> list[Spark]:
    hosts = [Spark("spark-1"), serving("spark-2"), serving("spark-3")]
    for host in hosts:
        kept = [line for line in host.texts["counters"].split("\n") if "counters/" not in line]
        host.texts["counters"] = "\n".join(kept)
    return hosts


def without_image(hosts: list[Spark]) -> list[Spark]:
    hosts[-1].texts["image"] = ""
    return hosts


Scene = tuple[Callable[[Inventory], list[Spark]], Callable[[Inventory, Operator], Any]]

PAIR = world.inventory()


def launched(_: Inventory, operator: Operator) -> Any:
    name = "qwen3-vl-235b"
    return launch(launch_request(PAIR, name, Choices()), name, operator)


def torn_down(_: Inventory, operator: Operator) -> Any:
    return take_down(teardown_request(PAIR, list(PAIR.hosts)), operator)


def resumed(_: Inventory, operator: Operator) -> Any:
    torn_down(_, operator)
    return resume(PAIR, list(PAIR.hosts), operator)


SCENES: dict[str, Scene] = {
    "launch": (lambda _: [launching("spark-2"), launching("spark-3")], launched),
    "launch refused": (
        lambda _: without_image([Spark("spark-2"), Spark("spark-3")]), launched,
    ),
    "launch with a host away": (lambda _: [launching("spark-2"), down("spark-3")], launched),
    "relaunch": (lambda switch: both(switch, "exited"), lambda s, o: relaunch(s, None, o)),
    "relaunch without the memory": (short_of_memory, lambda s, o: relaunch(s, None, o)),
    "relaunch of what does not go": (stubborn, lambda s, o: relaunch(s, None, o)),
    "relaunch of nothing": (
        lambda switch: [Spark(name) for name in switch.hosts], lambda s, o: relaunch(s, None, o),
    ),
    "failover": (lost, lambda s, o: failover(s, RECIPE, ["spark-2"], o)),
    "failover to nobody": (
        lambda switch: without_image(lost(switch)),
        lambda s, o: failover(s, RECIPE, ["spark-2"], o),
    ),
    "teardown": (lambda _: [Spark("spark-1"), torn("spark-2"), torn("spark-3")], torn_down),
    "teardown with a host away": (
        lambda _: [Spark("spark-1"), torn("spark-2"), down("spark-3")], torn_down,
    ),
    "resume": (lambda _: [Spark("spark-1"), torn("spark-2"), down("spark-3")], resumed),
    "verify": (
        lambda _: [Spark("spark-1"), serving("spark-2"), serving("spark-3")],
        lambda _, o: verify(PAIR, list(PAIR.hosts), o),
    ),
    "verify nothing": (
        lambda _: [Spark("spark-1"), Spark("spark-2"), Spark("spark-3")],
        lambda _, o: verify(PAIR, list(PAIR.hosts), o),
    ),
    "verify a dead rank": (
        lambda _: with_a_dead_rank(), lambda _, o: verify(PAIR, list(PAIR.hosts), o),
    ),
    "verify without counters": (
        lambda _: without_counters(), lambda _, o: verify(PAIR, list(PAIR.hosts), o),
    ),
    "doctor": (
        lambda _: [Spark("spark-1"), serving("spark-2"), down("spark-3")],
        lambda _, o: report(PAIR, list(PAIR.hosts), o),
    ),
}  # fmt: skip


def became(scene: Scene, switch: Inventory, over: Operators) -> tuple[object, ...]:
    """What came of a scene, without its words."""
    hosts = scene[0](switch)
    operator, heard = over(hosts)
    try:
        result = scene[1](switch, operator)
        judged = getattr(result, "judged", None)
        verdict = (judged.verdict.kind, judged.verdict.code) if judged else None
        ended = result.exit_code, verdict
    except SparkError as error:
        ended = type(error), (error.exit_code, error.code)
    # How often a wait looks is the clock's business.
    kinds = [event.kind for event in heard if not isinstance(event, Progress)]
    statuses = sorted((each.host, each.step, each.status) for each in heard.of(StepFinished))
    changed = [[len(script) for script in host.changes] for host in hosts]
    return ended, kinds, statuses, changed


@pytest.mark.parametrize("name", SCENES)
def test_other_words_change_nothing_but_the_words(
    name: str, switch: Inventory, over: Operators, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = became(SCENES[name], switch, over)
    assert plain[0] is not None
    reword(monkeypatch)
    assert str(SparkError("a", remedy="b").message) == OTHER
    assert became(SCENES[name], switch, over) == plain


def watched(warm: Callable[..., Stand], exited: bool) -> tuple[object, ...]:
    """What a watcher makes of a rank that died, and of a restart that did not bring it back."""
    hosts = pair()
    if exited:
        hosts[1].texts["containers"] = world.running("spark-3", state="exited", status=137)
    restart = Restarter(Attempt("not up", process=("here", 71)))
    stand = warm(hosts, Remedies(lambda: "/e.tar.gz", restart=restart), Restarts(cap=2, pause=1))
    stand.turns(20)
    conditions = [(each.key, each.code, each.fatal) for each in stand.watcher.conditions]
    return conditions, sorted(set(stand.alarms())), restart.commands()


@pytest.mark.parametrize("exited", [True, False])
def test_other_words_change_no_restart(
    exited: bool, warm: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = watched(warm, exited)
    assert bool(plain[2]) is exited
    reword(monkeypatch)
    assert watched(warm, exited) == plain
    assert not exited or {DeadRank, Condition, Alarmed, Note} <= BUILT


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_other_words_change_no_verdict(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    plain = verdict_of(case)
    reword(monkeypatch)
    other = verdict_of(case)
    assert {reason.text for reason in other.reasons} == {OTHER}
    assert (other.kind, other.code, other.causes) == (plain.kind, plain.code, plain.causes)
    assert [each.code for each in other.reasons] == [each.code for each in plain.reasons]


def test_whatever_speaks_was_reworded(
    switch: Inventory, over: Operators, warm: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a class of WORDS would be held by no scene."""
    BUILT.clear()
    reword(monkeypatch)
    for scene in SCENES.values():
        became(scene, switch, over)
    watched(warm, exited=True)
    assert set(WORDS) == BUILT
