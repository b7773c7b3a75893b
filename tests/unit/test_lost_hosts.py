"""A host that is lost in the midst: in the reading of a plan, in a step, while others wait."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from spark_cluster.inventory.models import Inventory
from spark_cluster.transport.protocol import Completed
from tests.command_line import Cli

from . import world
from .switched import RECIPE
from .test_failover import dead
from .world import INVENTORY, MARK, Spark, launching, torn

#: What the transport gives for a probe that does not end.
HUNG = Completed(124, "", "")


def losing(host: Spark, is_last: Callable[[list[str]], bool]) -> Spark:
    """Answers until it is asked for the facts that `is_last` knows, and never again."""
    probe, lost = host.probe, False

    def answer(script: str) -> str | Completed:
        nonlocal lost
        lost = lost or is_last(re.findall(rf"{MARK}(\S+?)'", script))
        return HUNG if lost else probe(script)

    host.on(MARK, answer)
    return host


def of_a_launch(facts: list[str]) -> bool:
    return "image" in facts


@pytest.mark.parametrize("lost", [0, 1])
def test_in_the_plan_of_a_launch(cli: Cli, lost: int) -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    losing(hosts[lost], of_a_launch)
    said = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert said.code == 1
    assert "the probe did not finish within 180 s" in said.err
    assert [host.changes for host in hosts] == [[], []]


@pytest.mark.parametrize("lost", [1, 2])
def test_in_the_plan_of_a_relaunch(cli: Cli, lost: int) -> None:
    hosts = [Spark("spark-1"), torn("spark-2"), torn("spark-3")]
    losing(hosts[lost], of_a_launch)
    said = cli("relaunch", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert f"{hosts[lost].name} is away: " in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_in_the_plan_of_a_failover(cli: Cli, switch: Inventory) -> None:
    hosts = dead(switch)
    losing(next(host for host in hosts if host.name == "spark-1"), of_a_launch)
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 4
    assert "spark-3, spark-1: spark-1 is away: " in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_between_two_steps_of_a_launch(cli: Cli) -> None:
    """Another host's step would look at it."""
    hosts = [launching("spark-2"), losing(launching("spark-3"), lambda facts: "ray" in facts[:1])]
    said = cli("launch", "qwen3-vl-235b", "-i", INVENTORY, hosts=hosts)
    assert said.code == 1
    assert "spark-3" in said.err + said.out


def test_while_the_others_wait_for_the_server(cli: Cli) -> None:
    hosts = [launching("spark-2"), launching("spark-3")]
    never = "loading\n@@health\n\n@@http 000 0.0 s refused\n"
    hosts[0].effect("docker exec --detach", containers=world.running("spark-2"), server=never)
    asked = 0

    def in_its_second_look(facts: list[str]) -> bool:
        nonlocal asked
        asked += facts[:2] == ["server", "containers"]
        return asked > 1

    losing(hosts[1], in_its_second_look)
    words = ("launch", "qwen3-vl-235b", "-i", INVENTORY, "--json", "--set", "ready.minutes=5")
    said = cli(*words, hosts=hosts)
    (head,) = [
        each for each in said.lines
        if each["kind"] == "step_finished" and (each["step"], each["host"]) == ("ready", "spark-2")
    ]  # fmt: skip
    assert head["status"] == "failed"
    assert "not waited for any longer: spark-3: " in head["summary"]
    assert head["seconds"] < 60
