"""Which node is joined to which: the lab's wiring, as data."""

import ipaddress
from itertools import combinations

import pytest

from spark_cluster.core.error import LabError
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


def test_every_mac_is_its_own() -> None:
    macs = [t.mac(n, i) for n in range(t.MAX_NODES + 1) for i in t.INTERFACES]
    assert len(macs) == len(set(macs))


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(LabError) as error:
        t.topology("star")
    assert "pair" in error.value.remedy
    with pytest.raises(LabError) as error:
        t.topology("pair").node("spark-9")
    assert "spark-3" in error.value.remedy
