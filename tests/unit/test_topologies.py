"""Which rails and which NCCL environment the ranks get in each topology of inventory/examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from spark_cluster import places
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.doctor import network
from spark_cluster.engines import nccl, rings
from spark_cluster.engines.placement import Placement, place
from spark_cluster.inventory import rings as cabling
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
        (finding,) = network.addresses(inventory.hosts["spark-2"], facts)
        assert (finding.code, finding.repair) == ("NET016", repair)
    assert "reserve the address in the DHCP server" in finding.fix


def test_the_ranks_of_a_ring_meet_on_an_unmanaged_link(tmp_path: Path) -> None:
    text = (EXAMPLES / "ring.yaml").read_text(encoding="utf-8")
    text = re.sub(r"(enP7s7, address: \S+)}", r"\1, managed: false}", text)
    ring = load(write(tmp_path / "sparks.yaml", text))
    assert not any(link.managed for host in ring.hosts.values() for link in host.links)
    assert placed(ring, "three").address(0) == "192.168.106.10"


# Rings


def ring(p: int = 24, *, base: str = "10.61.9.{}", ports: str = "crossed") -> Inventory:
    """Three hosts, a cable between every two, the cables' subnets of that length one after another.
    `ports`: every cable from port 0 to port 1, or between the ports that are equal."""
    names = [("enp1s0f0np0", "rocep1s0f0"), ("enp1s0f1np1", "rocep1s0f1")]
    ends = {"crossed": [(0, 1), (0, 1), (0, 1)], "equal": [(0, 0), (1, 1), (0, 1)]}[ports]
    rails: dict[str, list[dict[str, str]]] = {"a": [], "b": [], "c": []}
    for number, ((one, other), sides) in enumerate(
        zip((("a", "b"), ("b", "c"), ("c", "a")), ends, strict=True)
    ):
        network = int(IPv4Address(base.format(0))) + number * (1 << (32 - p))
        for host, side, last in ((one, sides[0], p < 31), (other, sides[1], 1 + (p < 31))):
            interface, device = names[side]
            address = f"{IPv4Address(network + last)}/{p}"
            rails[host].append({"interface": interface, "device": device, "address": address})
    hosts = {
        host: {
            "rails": mine,
            "links": [{"interface": "enP7s7", "address": f"10.60.0.{n}/24", "managed": False}],
        }
        for n, (host, mine) in enumerate(rails.items(), 1)
    }
    return Inventory.model_validate({"hosts": hosts, "groups": {"three": ["a", "b", "c"]}})


@pytest.mark.parametrize("prefix", [16, 23, 24, 25, 28, 30, 31])
def test_nccl_compares_as_many_bits_as_the_cables_have(prefix: int) -> None:
    there = placed(ring(prefix), "three")
    assert there.is_ring
    for rank in range(3):
        env = nccl.environment(there, rank)
        assert env["NCCL_IB_SUBNET_AWARE_ROUTING"] == "1"
        assert env["NCCL_IB_SUBNET_PREFIX_LEN"] == str(prefix)


def test_a_pair_on_both_halves_is_told_apart_too() -> None:
    env = nccl.environment(placed(example("pair"), "pair", "dual"), 0)
    assert env["NCCL_IB_SUBNET_PREFIX_LEN"] == "24"
    assert "NCCL_IB_SUBNET_PREFIX_LEN" not in nccl.environment(placed(example("pair"), "pair"), 0)


def with_addresses(inventory: Inventory, *addresses: str) -> Inventory:
    """The ring with these for its six rails, cable by cable."""
    rails = [("a", 0), ("b", 0), ("b", 1), ("c", 0), ("c", 1), ("a", 1)]
    data = inventory.model_dump()
    for (host, number), address in zip(rails, addresses, strict=True):
        data["hosts"][host]["rails"][number]["address"] = address
    return Inventory.model_validate(data)


@pytest.mark.parametrize(
    ("addresses", "bits"),
    [
        # Of two lengths: the longer one parts the ends of the wider subnet.
        (
            ("10.0.0.1/16", "10.0.9.2/16", "10.1.0.1/24", "10.1.0.2/24", "10.2.0.1/24",
             "10.2.0.2/24"), 16,
        ),
        (
            ("10.0.0.1/24", "10.0.0.5/24", "10.0.1.1/30", "10.0.1.2/30", "10.0.1.9/30",
             "10.0.1.10/30"), 29,
        ),
        # The ends of one subnet differ earlier than two others do from each other.
        (
            ("10.0.0.1/16", "10.0.200.2/16", "10.1.1.1/30", "10.1.1.2/30", "10.1.1.5/30",
             "10.1.1.6/30"), None,
        ),
    ],
)  # fmt: skip
def test_subnets_of_two_lengths(addresses: tuple[str, ...], bits: int | None) -> None:
    there = placed(with_addresses(ring(), *addresses), "three")
    assert there.prefix_length == bits
    env = nccl.environment(there, 0)
    assert env.get("NCCL_IB_SUBNET_PREFIX_LEN") == (str(bits) if bits else None)
    found = rings.findings(recipe(nodes=3, engine_version="0.33.0", image="x:1"), there)
    assert [finding.loc for finding in found] == ([] if bits else [("rails",)])


@pytest.mark.parametrize(
    ("engine", "version", "image", "severity", "says"),
    [
        ("vllm-mp", "0.33.0", "example.org/vllm:0.33.0", "", ""),
        ("vllm-mp", "0.34.0", "example.org/vllm:0.34.0", "warning", "is not known"),
        ("vllm-mp", "0.32.0", "vllm/vllm-openai:v0.32.0", "error", "comes with 2.29.7"),
        ("vllm-mp", "0.27.1", "example.org/vllm:0.27.1", "error", "comes with 2.29.7"),
        ("vllm-mp", "0.26.3", "example.org/vllm:0.26.3", "error", "comes with 2.28.9"),
        ("vllm-ray", "0.14.0", "example.org/vllm:0.14.0", "error", "one before 2.28.9"),
        ("vllm-mp", "0.31.0", "nvcr.io/nvidia/vllm:26.10-py3", "warning", "is not known"),
        ("vllm-mp", "nightly", "eugr/spark-vllm:nightly-20261015", "warning", "is not known"),
        ("sglang", "0.5.12", "example.org/sglang:0.5.12", "warning", "is not known"),
    ],
)
def test_a_ring_needs_an_nccl_that_knows_subnets(
    engine: str, version: str, image: str, severity: str, says: str
) -> None:
    there = placed(ring(), "three")
    found = rings.findings(
        recipe(nodes=3, engine=engine, engine_version=version, image=image), there
    )
    assert [finding.severity for finding in found] == [severity] * bool(severity)
    for finding in found:
        assert finding.code in DIAGNOSES
        assert says in finding.what
        assert finding.remedy.endswith(".")


def test_no_ring_needs_none() -> None:
    old = recipe(nodes=2, engine_version="0.14.0")
    assert rings.findings(old, placed(example("pair"), "pair", "dual")) == ()


def test_a_ring_of_equal_ports_is_refused_by_name() -> None:
    there = placed(ring(ports="equal"), "three")
    error = refused(lambda: rings.refuse_equal_ports(there, "sparks.yaml"))
    assert "the cables of three form a ring and join equal ports" in error.message
    assert "a enp1s0f0np0 (10.61.9.1/24) to b enp1s0f0np0 (10.61.9.2/24) (and 1 more)" in (
        error.message
    )
    assert "110" in error.message
    assert "port 0 of each host leads to port 1 of the next" in error.remedy
    rings.refuse_equal_ports(placed(ring(), "three"), "sparks.yaml")


@pytest.mark.parametrize("name", ["pair", "both-ports", "ring", "switch"])
def test_the_examples_have_no_such_ring(name: str) -> None:
    assert cabling.warnings(example(name)) == ()


def test_bootstrap_is_told_of_a_group_that_can_never_serve() -> None:
    (said,) = cabling.warnings(ring(ports="equal"))
    assert said.startswith("the cables of three form a ring and join equal ports")
    assert cabling.warnings(ring()) == ()


def test_two_hosts_of_such_a_ring_are_a_pair() -> None:
    inventory = ring(ports="equal")
    there = place(recipe(nodes=2), inventory, "a,b", ("a", "b"))
    rings.refuse_equal_ports(there, "sparks.yaml")


def test_a_port_that_is_no_sparks_is_not_judged() -> None:
    data = ring(ports="equal").model_dump()
    for host in data["hosts"].values():
        for number, rail in enumerate(host["rails"]):
            rail["interface"] = f"eth{number}"
    assert cabling.warnings(Inventory.model_validate(data)) == ()
