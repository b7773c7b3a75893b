"""Which node is joined to which: the lab's wiring, as data."""

import ipaddress
from itertools import combinations
from pathlib import Path

import pytest

from spark_cluster.core.error import InputError
from spark_cluster.inventory.loader import load
from spark_cluster.lab import state
from spark_cluster.lab import topology as t


@pytest.mark.parametrize("name", sorted(t.TOPOLOGIES))
def test_no_half_has_two_cables(name: str) -> None:
    plan = t.topology(name)
    ends = [
        end
        for cable in plan.cables
        for end in ((cable.left, cable.left_interface), (cable.right, cable.right_interface))
    ]
    assert len(ends) == len(set(ends))
    assert all(interface in t.HALVES for _, interface in ends)


@pytest.mark.parametrize("name", sorted(t.TOPOLOGIES))
def test_both_ends_of_a_cable_are_in_one_subnet_and_no_other_rail_is(name: str) -> None:
    plan = t.topology(name)
    nets = []
    for cable in plan.cables:
        left = ipaddress.ip_interface(plan.rails[cable.left][cable.left_interface])
        right = ipaddress.ip_interface(plan.rails[cable.right][cable.right_interface])
        assert left.network == right.network
        assert left.ip != right.ip
        nets.append(left.network)
    assert not any(a.overlaps(b) for a, b in combinations(nets, 2))


def test_pair_cables_port_1_of_spark_2_and_3_only() -> None:
    plan = t.topology("pair")
    assert {cable.ident for cable in plan.cables} == {
        "spark-2.enp1s0f1np1-spark-3.enp1s0f1np1",
        "spark-2.enP2p1s0f1np1-spark-3.enP2p1s0f1np1",
    }
    assert not any(plan.carrier("spark-1", half) for half in t.HALVES)
    assert not plan.carrier("spark-2", "enp1s0f0np0")
    assert plan.carrier("spark-3", "enP2p1s0f1np1")
    assert plan.carrier("spark-1", t.ETHERNET)


def test_ring_joins_port_0_to_port_1_of_the_next() -> None:
    plan = t.topology("ring")
    assert len(plan.cables) == 6
    cable = plan.cable_at("spark-3", "enp1s0f0np0")
    assert cable is not None
    assert cable.other("spark-3") == ("spark-1", "enp1s0f1np1")
    assert cable.other("spark-1") == ("spark-3", "enp1s0f0np0")


def test_both_joins_the_two_ports_of_two_nodes() -> None:
    plan = t.topology("both")
    assert [node.name for node in plan.nodes] == ["spark-2", "spark-3"]
    assert len(plan.cables) == 4
    assert all(plan.carrier(node.name, half) for node in plan.nodes for half in t.HALVES)


def test_switch_joins_one_port_of_each_node_and_each_half_is_a_network() -> None:
    plan = t.topology("switch")
    for network in plan.switched:
        assert [name for name, _ in network] == ["spark-1", "spark-2", "spark-3"]
        given = [ipaddress.ip_interface(plan.rails[name][half]) for name, half in network]
        assert len({address.network for address in given}) == 1
        assert len({address.ip for address in given}) == 3
    carriers = {(n.name, h) for n in plan.nodes for h in t.HALVES if plan.carrier(n.name, h)}
    assert carriers == {end for network in plan.switched for end in network}
    assert plan.segments_of("spark-1") == {
        t.ETHERNET: 0, "enp1s0f0np0": 1, "enP2p1s0f0np0": 2,
    }  # fmt: skip
    assert plan.segments_of("spark-3")["enp1s0f1np1"] == 1
    assert t.topology("ring").segments_of("spark-1") == {t.ETHERNET: 0}


@pytest.mark.parametrize("name", sorted(t.TOPOLOGIES))
def test_the_rails_of_a_topology_are_an_inventory_that_loads(name: str, tmp_path: Path) -> None:
    plan = t.topology(name)
    text = state.inventory(plan, {node.name: 8000 for node in plan.nodes})
    path = tmp_path / "inventory.yaml"
    path.write_text(text)
    assert load(path).groups == plan.groups


def test_every_mac_is_its_own() -> None:
    macs = [t.mac(n, i) for n in range(t.MAX_NODES + 1) for i in t.INTERFACES]
    assert len(macs) == len(set(macs))


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(InputError) as error:
        t.topology("star")
    assert "pair" in error.value.remedy
    with pytest.raises(InputError) as error:
        t.topology("pair").node("spark-9")
    assert "spark-3" in error.value.remedy
