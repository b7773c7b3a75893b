"""Which rails and which NCCL environment the ranks get in each topology of inventory/examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from spark_cluster import places
from spark_cluster.doctor import network
from spark_cluster.doctor.cluster import Cluster
from spark_cluster.engines import nccl
from spark_cluster.engines.placement import Placement, place
from spark_cluster.inventory.loader import load
from spark_cluster.inventory.models import Inventory
from spark_cluster.steps import registry
from spark_cluster.steps.view import View

from . import world
from .cases import refused, write
from .test_engines import recipe

EXAMPLES = places.shipped("inventory") / "examples"
P0, P1 = ["rocep1s0f0", "roceP2p1s0f0"], ["rocep1s0f1", "roceP2p1s0f1"]

#: Group of an example, `rails` of the recipe, and the devices of each rank.
PLACES: list[tuple[str, str, str, list[list[str]]]] = [
    ("pair", "pair", "single", [P0[:1], P0[:1]]),
    ("pair", "pair", "dual", [P0, P0]),
    ("both-ports", "pair", "dual", [P0, P0]),
    ("ring", "front", "single", [P0[:1], P1[:1]]),
    ("ring", "front", "dual", [P0, P1]),
    ("ring", "back", "dual", [P0, P1]),
    ("ring", "three", "single", [[P0[0], P1[0]]] * 3),
    ("ring", "three", "dual", [P0 + P1] * 3),
    ("switch", "all", "single", [P0[:1], P0[:1], P0[:1], P1[:1]]),
    ("switch", "all", "dual", [P0, P0, P0, P1]),
    ("switch", "back", "dual", [P0, P1]),
]


def example(name: str) -> Inventory:
    return load(EXAMPLES / f"{name}.yaml")


def placed(inventory: Inventory, group: str, rails: str = "single") -> Placement:
    names = inventory.groups[group]
    return place(recipe(nodes=len(names), rails=rails), inventory, group, names)


@pytest.mark.parametrize(("name", "group", "rails", "devices"), PLACES)
def test_the_rails_are_those_that_face_the_group(
    name: str, group: str, rails: str, devices: Sequence[Sequence[str]]
) -> None:
    there = placed(example(name), group, rails)
    assert [[rail.device for rail in mine] for mine in there.rails] == devices
    for rank, wanted in enumerate(devices):
        env = nccl.environment(there, rank)
        assert env["NCCL_IB_HCA"] == "=" + ",".join(f"{device}:1" for device in wanted)


@pytest.mark.parametrize(("name", "group", "rails", "devices"), PLACES)
def test_every_rank_finds_the_others_on_one_network(
    name: str, group: str, rails: str, devices: Sequence[Sequence[str]]
) -> None:
    there = placed(example(name), group, rails)
    assert len({socket.network for socket in there.sockets}) == 1
    for rank, socket in enumerate(there.sockets):
        assert there.address(rank) == socket.ip
        env = nccl.environment(there, rank)
        for variable in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "UCX_NET_DEVICES"):
            assert env[variable] == socket.interface


def test_in_a_ring_the_ranks_meet_on_the_link_and_nccl_keeps_the_ports_apart() -> None:
    there = placed(example("ring"), "three", "dual")
    assert [there.address(rank) for rank in range(3)] == [f"192.168.106.{n}" for n in (10, 11, 12)]
    for rank in range(3):
        env = nccl.environment(there, rank)
        assert env["NCCL_SOCKET_IFNAME"] == "enP7s7"
        assert env["NCCL_IB_MERGE_NICS"] == "0"
        assert env["NCCL_IB_SUBNET_AWARE_ROUTING"] == "1"
        assert "NCCL_IB_ADDR_RANGE" not in env


@pytest.mark.parametrize("name", ["pair", "both-ports", "switch"])
def test_without_a_ring_the_halves_may_be_merged(name: str) -> None:
    inventory = example(name)
    for group in inventory.groups:
        single, dual = (
            nccl.environment(placed(inventory, group, r), 0) for r in ("single", "dual")
        )
        assert single["NCCL_IB_ADDR_RANGE"] == "192.168.100.0/24"
        assert "NCCL_IB_SUBNET_AWARE_ROUTING" not in single
        assert dual["NCCL_IB_SUBNET_AWARE_ROUTING"] == "1"
        assert "NCCL_IB_MERGE_NICS" not in single | dual


def test_two_hosts_of_a_ring_are_a_pair() -> None:
    there = placed(example("ring"), "back")
    assert not there.is_ring
    assert nccl.environment(there, 1)["NCCL_IB_ADDR_RANGE"] == "192.168.102.0/24"
    assert there.address(1) == "192.168.102.11"


def without(tmp_path: Path, name: str, *parts: str) -> Inventory:
    """The example without the lines that hold one of the parts."""
    lines = (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not any(part in line for part in parts)]
    return load(write(tmp_path / "sparks.yaml", "".join(kept)))


def test_a_ring_without_a_common_link_says_what_is_missing(tmp_path: Path) -> None:
    bare = without(tmp_path, "ring", "links:", "enP7s7")
    error = refused(lambda: placed(bare, "three"))
    assert "no network joins all of spark-1, spark-2, spark-3" in error.message
    assert "`links:`" in error.remedy
    assert placed(bare, "front").address(0) == "192.168.100.10"


def test_a_ring_without_one_cable_is_no_group_of_three(tmp_path: Path) -> None:
    open_ring = without(tmp_path, "ring", "192.168.104.", "192.168.105.")
    error = refused(lambda: placed(open_ring, "three"))
    assert "spark-1 and spark-3 have no rail in one subnet" in error.message
    assert "Name another group" in error.remedy


def test_both_halves_are_wanted_and_one_is_shared(tmp_path: Path) -> None:
    one_half_each = without(tmp_path, "ring", "roceP2p1")
    error = refused(lambda: placed(one_half_each, "front", "dual"))
    assert "spark-1, spark-2 share one rail; qwen3-vl-235b uses 2 per host" in error.message


# A link that belongs to somebody else


def lent(tmp_path: Path) -> Inventory:
    """The shipped inventory, but spark-2's 10GbE port gets its address from DHCP."""
    text = (places.shipped("inventory") / "sparks.yaml").read_text(encoding="utf-8")
    line = "{interface: enP7s7, address: 192.168.102.11/24"
    assert line in text
    return load(write(tmp_path / "sparks.yaml", text.replace(line, f"{line}, managed: false")))


def seen_in(inventory: Inventory, **texts: str) -> View:
    facts = world.facts("spark-2", texts)
    return View(
        inventory.hosts["spark-2"], inventory, facts, {"spark-2": facts}, facts,
        templates=world.templates(),
    )  # fmt: skip


def without_link_address() -> str:
    """spark-2's `ip -j addr`, another lease on the 10GbE port."""
    return world.healthy("links", "spark-2").replace("192.168.102.11", "192.168.102.77")


def test_bootstrap_leaves_an_unmanaged_link_alone(tmp_path: Path) -> None:
    view = seen_in(lent(tmp_path), netplan="active\n", links=without_link_address())
    step = registry()["netplan"]
    params = step.params(templates=("40-cx7.yaml.j2", "50-10gbe.yaml.j2"))
    assert [change.what for change in step.assess(view, params).changes] == [
        "/etc/netplan/40-cx7.yaml"
    ]
    owned = seen_in(world.inventory(), links=without_link_address())
    assert [change.what for change in step.assess(owned, params).changes] == ["enP7s7 address"]
    there = seen_in(lent(tmp_path), links=without_link_address())
    assert "enP7s7 address" not in [change.what for change in step.assess(there, params).changes]


def test_the_doctor_does_not_repair_an_unmanaged_link(tmp_path: Path) -> None:
    for inventory, repair in ((world.inventory(), "netplan"), (lent(tmp_path), None)):
        facts = world.facts("spark-2", {"links": without_link_address()})
        (finding,) = network.addresses(Cluster(inventory, {"spark-2": facts}))
        assert (finding.code, finding.repair) == ("NET016", repair)
    assert "reserve the address in the DHCP server" in finding.fix


def test_the_ranks_of_a_ring_meet_on_an_unmanaged_link(tmp_path: Path) -> None:
    text = (EXAMPLES / "ring.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(enP7s7, address: \S+)}", r"\1, managed: false}", text)
    ring = load(write(tmp_path / "sparks.yaml", text))
    assert not any(link.managed for host in ring.hosts.values() for link in host.links)
    assert placed(ring, "three").address(0) == "192.168.106.10"
