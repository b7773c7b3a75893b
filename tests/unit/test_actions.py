"""failover, relaunch, teardown and its --resume as actions: results and events, no output."""

from __future__ import annotations

import pytest

from spark_cluster.actions.bootstrap import bootstrap_request
from spark_cluster.actions.deploying import Choices
from spark_cluster.actions.events import FailingOver, Judged, NotLaunched, Relaunching, Resuming
from spark_cluster.actions.failover import failover
from spark_cluster.actions.launch import launch, launch_request
from spark_cluster.actions.relaunch import relaunch
from spark_cluster.actions.run import run_playbook
from spark_cluster.actions.teardown import resume, take_down, teardown, teardown_request
from spark_cluster.core.error import CheckFailed, Unreachable
from spark_cluster.core.event import Note, RunFinished
from spark_cluster.core.result import Status
from spark_cluster.inventory.models import Inventory
from tests.fake_transport import failed
from tests.operators import Operators
from tests.operators import silent as silent_actions

from . import world
from .switched import RECIPE, both, less_memory, made, runs
from .world import Spark, down, launching, torn

silent = pytest.fixture(autouse=True)(silent_actions)


def lost(switch: Inventory) -> list[Spark]:
    """spark-2 is away, and spark-3 can serve with spark-1."""
    hosts = both(switch)
    hosts[0].down = Unreachable("spark-2: no route to host", remedy="Is it on?")
    after = made(switch, ("spark-3", "spark-1"))
    hosts[1].effect("docker run", containers=runs(after, "spark-3"), server=world.SERVER_UP)
    return hosts


def test_a_failover_tells_where_it_serves_before_it_takes_down(
    over: Operators, switch: Inventory
) -> None:
    operator, heard = over(lost(switch))
    outcome = failover(switch, RECIPE, ["spark-2"], operator)
    assert outcome.exit_code == 0
    (told,) = heard.of(FailingOver)
    assert told.hosts == ("spark-3", "spark-1")
    assert told.takes_down == ("spark-2", "spark-3")
    assert [end.verb for end in heard.of(RunFinished)] == ["teardown", "launch"]
    assert heard.index(told) < heard.index(heard.of(RunFinished)[0])


def test_a_failover_to_nobody_changes_nothing(over: Operators, switch: Inventory) -> None:
    hosts = lost(switch)
    hosts[2].texts["image"] = ""
    operator, heard = over(hosts)
    with pytest.raises(CheckFailed) as refused:
        failover(switch, RECIPE, ["spark-2"], operator)
    assert "spark-1: SERVE002" in refused.value.message
    assert heard == []
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_relaunch_is_a_teardown_and_a_launch(over: Operators, switch: Inventory) -> None:
    operator, heard = over(both(switch, "exited"))
    outcome = relaunch(switch, None, operator)
    assert outcome.exit_code == 0
    (told,) = heard.of(Relaunching)
    assert (told.recipe, told.hosts, told.settings_differ) == (
        RECIPE, ("spark-2", "spark-3"), False,
    )  # fmt: skip
    assert [end.verb for end in heard.of(RunFinished)] == ["teardown", "launch"]


def test_memory_that_is_not_back_does_not_keep_a_relaunch(
    over: Operators, switch: Inventory
) -> None:
    hosts = both(switch, "exited")
    less_memory(hosts[0])
    operator, heard = over(hosts)
    relaunch(switch, None, operator)
    (told,) = heard.of(NotLaunched)
    assert (told.goes_on, told.hosts) == (True, ("spark-2",))
    assert heard.of(RunFinished)[-1].verb == "launch"


def test_a_relaunch_ends_with_a_teardown_that_is_not_complete(
    over: Operators, switch: Inventory
) -> None:
    hosts = both(switch)
    hosts[0].on("docker rm", failed(1, "no"))
    operator, heard = over(hosts)
    outcome = relaunch(switch, None, operator)
    assert outcome.exit_code != 0
    assert [told.goes_on for told in heard.of(NotLaunched)] == [False]
    assert [end.verb for end in heard.of(RunFinished)] == ["teardown"]


def test_resume_finishes_the_hosts_that_are_back(over: Operators) -> None:
    inventory = world.inventory()
    hosts = [Spark("spark-1"), torn("spark-2"), down("spark-3")]
    operator, _ = over(hosts)
    first = take_down(teardown_request(inventory, list(inventory.hosts)), operator)
    assert first.exit_code == 3
    assert first.data["unknown"] == ["spark-3"]
    hosts[2] = torn("spark-3")
    operator, heard = over(hosts)
    outcome = resume(inventory, list(inventory.hosts), operator)
    assert heard.of(Resuming)[0].hosts == ("spark-3",)
    assert outcome.exit_code == 0
    assert {result.host for result in outcome.results} == {"spark-3"}
    operator, heard = over(hosts)
    assert resume(inventory, list(inventory.hosts), operator).results == ()
    assert heard.of(Resuming)[0].hosts == ()


def test_the_network_of_a_failed_teardown_stays(over: Operators) -> None:
    inventory = world.inventory()
    operator, heard = over([Spark("spark-1"), torn("spark-2"), down("spark-3")])
    outcomes = teardown(inventory, list(inventory.hosts), operator, network=True)
    assert [outcome.exit_code for outcome in outcomes] == [3]
    assert any("undo network" in note.message for note in heard.of(Note))


def test_a_launch_gives_what_serves_and_its_verdict(over: Operators) -> None:
    inventory = world.inventory()
    request = launch_request(inventory, "qwen3-vl-235b", Choices())
    operator, heard = over([launching("spark-2"), launching("spark-3")])
    outcome = launch(request, "qwen3-vl-235b", operator)
    assert outcome.serving is not None
    assert outcome.serving.endpoint == "http://192.168.102.11:8000/v1"
    assert outcome.serving.not_verified == ()
    (judged,) = heard.of(Judged)
    assert outcome.verdict is judged.verdict
    assert outcome.data["verdict"]["kind"] == judged.verdict.kind == "rdma"


def test_a_launch_that_is_refused_serves_nothing(over: Operators) -> None:
    inventory = world.inventory()
    request = launch_request(inventory, "qwen3-vl-235b", Choices())
    operator, _ = over([Spark("spark-2"), Spark("spark-3", {"image": ""})])
    outcome = launch(request, "qwen3-vl-235b", operator)
    assert (outcome.serving, outcome.verdict, outcome.exit_code) == (None, None, 4)
    assert [result.status for result in outcome.results] == [Status.FAILED]


def test_a_plan_is_data_and_changes_nothing(over: Operators) -> None:
    inventory = world.inventory()
    hosts = [world.bare(name) for name in inventory.hosts]
    operator, heard = over(hosts)
    request = bootstrap_request(inventory, list(inventory.hosts))
    outcome = run_playbook(request, operator, dry_run=True)
    assert outcome.plan is not None
    assert outcome.plan.change_count > 0
    assert heard.of(RunFinished)[0].data["plan"] == outcome.plan.as_rows(commands=False)
    assert [host.changes for host in hosts] == [[], [], []]
