"""failover over fake hosts: where it places, what is missing, what it leaves alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from spark_cluster import places
from spark_cluster.actions.deploying import Choices, deploy, load_recipe
from spark_cluster.actions.failover import candidates
from spark_cluster.core.error import Unreachable
from spark_cluster.engines.placement import place
from spark_cluster.engines.spec import Deployment
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from tests.command_line import Cli

from . import world
from .switched import RECIPE, able, both, less_memory, made, runs
from .world import INVENTORY, Spark, down, healthy, launching
from .world import serving as pair_serving


def test_candidates_are_groups_first_then_the_rest(switch: Inventory) -> None:
    recipe = load_recipe(switch, RECIPE, Choices())
    assert list(candidates(switch, recipe, [])) == [
        ("spark-2", "spark-3"), ("spark-2", "spark-1"), ("spark-3", "spark-1"),
    ]  # fmt: skip
    assert list(candidates(switch, recipe, ["spark-2"])) == [("spark-3", "spark-1")]
    assert list(candidates(switch, recipe, ["spark-2", "spark-3"])) == []


@pytest.mark.parametrize("lost", ["spark-1", "spark-2", "spark-3"])
def test_in_a_ring_any_two_that_are_left_have_a_cable(lost: str) -> None:
    ring = inventories.load(places.shipped("inventory") / "examples" / "ring.yaml")
    recipe = load_recipe(ring, RECIPE, Choices())
    (hosts,) = candidates(ring, recipe, [lost])
    there = place(recipe, ring, "left", hosts)
    assert lost not in hosts
    assert {rail.network for rail in there.rails[0]} == {rail.network for rail in there.rails[1]}


def dead(switch: Inventory) -> list[Spark]:
    hosts = both(switch)
    hosts[0].down = Unreachable("spark-2: no route to host", remedy="Is it on?")
    after = made(switch, ("spark-3", "spark-1"))
    hosts[1].effect("docker run", containers=runs(after, "spark-3"), server=world.SERVER_UP)
    return hosts


def test_one_command_serves_on_the_other_two(cli: Cli, switch: Inventory) -> None:
    hosts = dead(switch)
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "takes down what is left of it on spark-2, spark-3" in said.out
    assert "serves on spark-3, spark-1, head spark-3: nothing is missing there" in said.out
    assert "unknown: spark-2 was not reached" in said.out
    assert f"{RECIPE} is ready: http://192.168.100.11:8000" in said.out
    assert f"--master-addr 192.168.100.11" in "".join(hosts[2].changes)  # noqa: F541
    hosts[0].down = None
    resumed = cli("teardown", "--resume", "-i", str(switch.path), hosts=hosts)
    assert resumed.code == 0
    assert f"teardown {RECIPE} on spark-2 " in resumed.out
    assert hosts[0].texts["containers"] == ""
    assert "docker rm" not in "".join(hosts[2].changes)


def unplugged(host: Spark, device: str) -> None:
    state = f"{device}/ports/1/state:"
    text = host.texts.get("access") or healthy("access", host.name)
    assert f"{state}4: ACTIVE" in text
    host.texts["access"] = text.replace(f"{state}4: ACTIVE", f"{state}1: DOWN")


def test_a_rail_that_the_recipe_does_not_use_may_be_down(cli: Cli, switch: Inventory) -> None:
    """In a ring the rails towards the dead host have no carrier."""
    hosts = dead(switch)
    for host in hosts[1:]:
        unplugged(host, "roceP2p1s0f1")
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err


def test_a_rail_that_it_uses_is_asked_for_before_anything_is_taken_down(
    cli: Cli, switch: Inventory
) -> None:
    hosts = dead(switch)
    unplugged(hosts[2], "rocep1s0f1")
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 4
    assert "spark-1: RDMA002 rocep1s0f1 port 1 is DOWN" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_dry_failover_says_what_it_would_do(cli: Cli, switch: Inventory) -> None:
    hosts = dead(switch)
    arguments = ["failover", RECIPE, "--without", "spark-2", "--dry-run", "-i", str(switch.path)]
    assert cli(*arguments, hosts=hosts).code == 0
    (line,) = cli(*arguments, "--json", hosts=hosts).lines
    assert line == {
        "kind": "failover",
        "recipe": RECIPE,
        "without": ["spark-2"],
        "hosts": ["spark-3", "spark-1"],
        "takes_down": ["spark-2", "spark-3"],
        "choices_known": True,
        "rejected": [],
    }
    assert [host.changes for host in hosts] == [[], [], []]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"image": ""}, "spark-1: SERVE002"),
        ({"image": ""}, "image sync nvcr.io/nvidia/vllm:26.05-py3 --to spark-3,spark-1"),
        ({"model": ""}, "spark-1: SERVE004"),
        ({"model": ""}, f"spark-cluster model sync {RECIPE} --to spark-3,spark-1"),
        ({"memory": "MemTotal: 125411328 kB\nMemAvailable: 5 kB\n"}, "spark-1: SERVE001"),
        (
            {"containers": '@@c ours 4f5e /x running 0 t {"spark-cluster.recipe":"other"}\n'},
            "spark-1 holds other: `spark-cluster teardown other` frees it",
        ),
    ],
)
def test_what_is_missing_is_said_and_nothing_changed(
    cli: Cli,
    switch: Inventory,
    texts: dict[str, str],
    says: str,
) -> None:
    hosts = dead(switch)
    hosts[2].texts |= texts
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 4
    assert f"no hosts can carry {RECIPE} without spark-2; nothing was changed" in said.err
    assert says in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_a_failover_to_hosts_that_are_all_away_is_unknown(cli: Cli, switch: Inventory) -> None:
    hosts = dead(switch)
    hosts[2] = down("spark-1")
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 3
    assert "spark-3, spark-1: spark-1 is away: spark-1: no route to host" in said.err
    assert "next: Bring back hosts that are away" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_memory_that_others_took_since_keeps_no_failover(cli: Cli, switch: Inventory) -> None:
    hosts = dead(switch)
    less_memory(hosts[1])
    said = cli("failover", RECIPE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert f"nothing of {RECIPE} is left on spark-3, though less memory is available" in said.out


ALONE = "qwen3-32b-fp8"


def alone(switch: Inventory, host: str) -> Deployment:
    chosen = Choices(hosts=(host,))
    return deploy(switch, load_recipe(switch, ALONE, chosen), chosen, world.RUN)[0]


def able_alone(switch: Inventory, host: str) -> Spark:
    spark = able(host, alone(switch, host))
    spark.texts["model"] = spark.texts["model"].replace(
        "QuantTrio--Qwen3-VL-235B-A22B-Instruct-AWQ", "Qwen--Qwen3-32B-FP8"
    )
    return spark


def test_a_replica_goes_on_when_the_other_fails_over(cli: Cli, switch: Inventory) -> None:
    hosts = [able_alone(switch, name) for name in ("spark-2", "spark-3", "spark-1")]
    for host in hosts[:2]:
        host.texts["containers"] = runs(alone(switch, host.name), host.name)
    said = cli("failover", ALONE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "takes down what is left of it on spark-2\n" in said.out
    assert f"not on spark-3: spark-3 holds {ALONE} already, launched on spark-3" in said.out
    assert "serves on spark-1: nothing is missing there" in said.out
    assert "cannot be read" not in said.out
    assert hosts[1].changes == []


def test_a_host_that_took_its_labels_along_is_finished_when_it_is_back(
    cli: Cli, switch: Inventory
) -> None:
    """A recipe of one host: nothing that answers holds a container of it."""
    hosts = [able_alone(switch, name) for name in ("spark-2", "spark-3", "spark-1")]
    hosts[0].texts["containers"] = runs(alone(switch, "spark-2"), "spark-2")
    hosts[0].down = Unreachable("spark-2: no route to host", remedy="Is it on?")
    said = cli("failover", ALONE, "--without", "spark-2", "-i", str(switch.path), hosts=hosts)
    assert said.code == 0, said.out + said.err
    assert "takes down what is left of it on spark-2\n" in said.out
    assert "how it was launched cannot be read: it gets the recipe's defaults" in said.out
    assert f"{ALONE} is ready" in said.out
    hosts[0].down = None
    resumed = cli("teardown", "--resume", "-i", str(switch.path), hosts=hosts)
    assert resumed.code == 0
    assert f"teardown {ALONE} on spark-2 " in resumed.out
    assert hosts[0].texts["containers"] == ""
    assert "docker rm" not in "".join(hosts[1].changes)


def test_hosts_without_a_cable_between_them_are_no_candidates(cli: Cli) -> None:
    """spark-1 of the shipped inventory is on the 10GbE network only."""
    hosts = [Spark("spark-1"), down("spark-2"), pair_serving("spark-3")]
    said = cli("failover", "qwen3-vl-235b", "--without", "spark-2", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert "spark-1, spark-3: no fabric: spark-1 has 0 rails" in said.err
    assert [host.changes for host in hosts] == [[], [], []]


def test_too_few_hosts_are_left(cli: Cli) -> None:
    hosts: Sequence[Spark] = [launching("spark-2")]
    said = cli("failover", "qwen3-vl-235b", "--without", "spark-2,spark-3", "-i", INVENTORY,
               hosts=hosts)  # fmt: skip
    assert said.code == 2
    assert "needs 2 hosts, and so many are not left without spark-2, spark-3" in said.err
