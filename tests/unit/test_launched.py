"""What the labels of containers tell of a launch, and which launch is meant."""

from __future__ import annotations

import pytest

from spark_cluster.core.error import CheckFailed
from spark_cluster.core.labels import LABEL
from spark_cluster.inventory.models import Inventory
from spark_cluster.workload.launched import Launched, choose, launched, others, to_take_down

from . import world
from .switched import RECIPE, made, runs


def test_the_labels_tell_what_was_launched(switch: Inventory) -> None:
    chosen = made(switch, ("spark-2", "spark-3"), options=("debug",))
    facts = {
        host: world.facts(host, {"containers": runs(chosen, host, state)})
        for host, state in (("spark-2", "exited"), ("spark-3", "running"))
    }
    (found,) = launched(facts)
    assert (found.recipe, found.group) == (RECIPE, ("spark-2", "spark-3"))
    assert (found.profile, found.options) == (None, ("debug",))
    assert dict(found.hosts) == {host: chosen.container(host).digest for host in chosen.hosts}


def test_without_choices_a_specification_is_what_it_was(switch: Inventory) -> None:
    plain = made(switch, ("spark-2", "spark-3"))
    assert not {f"{LABEL}.profile", f"{LABEL}.options"} & set(plain.containers[0].labels)
    assert plain.containers[0].digest == world.deployment(RECIPE).containers[0].digest


def test_one_launch_must_be_meant(switch: Inventory) -> None:
    pair = made(switch, ("spark-2", "spark-3"))
    other = '@@c ours 4f5e /other running 0 t {"spark-cluster.recipe":"other"}\n'
    facts = {
        "spark-3": world.facts("spark-3", {"containers": runs(pair, "spark-3")}),
        "spark-1": world.facts("spark-1", {"containers": other}),
    }
    found = launched(facts)
    assert choose(found, RECIPE).group == ("spark-2", "spark-3")
    assert choose(found, "other").group == ("spark-1",)
    with pytest.raises(CheckFailed, match="more than one launch"):
        choose(found)
    with pytest.raises(CheckFailed, match=r"qwen is not launched; there is .* on spark-2, spark-3"):
        choose(found, "qwen")
    with pytest.raises(CheckFailed, match="nothing of ours is launched"):
        choose([])
    assert others(found, [choose(found, RECIPE)], RECIPE, ("spark-3", "spark-1")) == [
        "spark-1 holds other: `spark-cluster teardown other` frees it"
    ]


def launch(run: str, *group: str, running: bool = True) -> Launched:
    return Launched(RECIPE, group, None, (), dict.fromkeys(group, "x"), run=run, running=running)


#: `left` is what the host that failed holds of it when it is back.
LEFT = launch("20261121-03", "spark-1", "spark-2", running=False)
MOVED = launch("20261121-04", "spark-2", "spark-3")
REPLICA = launch("20261121-02", "spark-3", "spark-4")


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        ([LEFT, MOVED], MOVED),
        ([MOVED, LEFT], MOVED),
        ([LEFT, launch("20261121-04", "spark-3", "spark-4")], "spark-3"),
        ([launch("20261121-05", "spark-1", "spark-2", running=False), REPLICA], "spark-1"),
        ([launch("20261121-03", "spark-1", "spark-2"), MOVED], MOVED),
    ],
    ids=["returned", "order", "elsewhere", "the newer is dead", "both run and share a host"],
)
def test_what_an_earlier_launch_left_is_not_meant(
    found: list[Launched], meant: Launched | str
) -> None:
    chosen = choose(found, RECIPE)
    assert chosen == meant or chosen.group[0] == meant
    assert choose(found) == chosen


def test_two_that_run_apart_are_two() -> None:
    found = [launch("20261121-03", "spark-1", "spark-2"), REPLICA]
    with pytest.raises(CheckFailed, match="more than one launch is meant") as raised:
        choose(found, RECIPE)
    assert f"`spark-cluster teardown {RECIPE} --hosts spark-3,spark-4`" in raised.value.remedy


@pytest.mark.parametrize(
    ("avoided", "ended"),
    [
        (["spark-1"], [LEFT]),
        (["spark-3"], [MOVED, LEFT]),  # what was left of it before goes, too
        (["spark-2"], [MOVED, LEFT]),
        (["spark-5"], [LEFT]),
    ],
)
def test_a_failover_ends_what_was_on_the_host_and_what_is_left(
    avoided: list[str], ended: list[Launched]
) -> None:
    assert to_take_down([LEFT, MOVED], RECIPE, avoided) == ended


def test_a_failover_leaves_a_replica_on_other_hosts() -> None:
    first = launch("20261121-03", "spark-1", "spark-2")
    assert to_take_down([first, REPLICA], RECIPE, ["spark-2"]) == [first]
    assert to_take_down([first, REPLICA], "other", ["spark-2"]) == []
