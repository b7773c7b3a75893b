"""What nodes see, turned to cables, to addresses, to an inventory that loads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.inventory import discovery, sight
from spark_cluster.inventory.discovery import End
from spark_cluster.inventory.draft import Node, render
from spark_cluster.inventory.loader import load
from spark_cluster.inventory.models import Inventory
from spark_cluster.inventory.proposal import Proposal, propose
from spark_cluster.inventory.sight import DEVICES, ETHERNET, HALVES, Sight

from .cases import write

P0 = HALVES[:2]
P1 = HALVES[2:]


def mac(host: str, interface: str) -> str:
    return f"52:54:00:5a:0{host[-1]}:0{sight.INTERFACES.index(interface) + 1}"


def fe80(host: str, interface: str) -> str:
    return f"fe80::{host[-1]}:{sight.INTERFACES.index(interface) + 1}"


class World:
    """Nodes and cables; `told` is what each node's script prints."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts
        self.segments: list[tuple[End, ...]] = []
        self.addresses: dict[End, list[str]] = {}
        self.dynamic: set[End] = set()
        self.routes: dict[str, list[dict[str, str]]] = {host: [] for host in hosts}
        self.management: dict[str, str] = {}
        self.silent: set[End] = set()
        self.extra: dict[str, list[str]] = {host: [] for host in hosts}

    def wire(self, *ends: End) -> World:
        self.segments.append(ends)
        return self

    def cable(self, one: str, port: Sequence[str], other: str, peer: Sequence[str]) -> World:
        for half in (0, 1):
            self.wire((one, port[half]), (other, peer[half]))
        return self

    def address(self, host: str, interface: str, address: str) -> World:
        self.addresses.setdefault((host, interface), []).append(address)
        return self

    def carriers(self, host: str) -> set[str]:
        seen = {end[1] for ends in self.segments for end in ends if end[0] == host}
        return seen | {end[1] for end in self.silent if end[0] == host}

    def told(self, host: str, how: str) -> str:
        lines = [f"hostname {host}"]
        if host in self.management:
            lines.append(f"management {self.management[host]}")
        entries: list[dict[str, Any]] = []
        for name in sight.INTERFACES:
            up = int(name in self.carriers(host))
            lines.append(f"port {name} {mac(host, name)} {up}")
            if name in DEVICES:
                lines.append(f"device {DEVICES[name]} {name}")
            given = self.addresses.get((host, name), [])
            infos: list[dict[str, Any]] = [
                {"family": "inet6", "local": fe80(host, name), "prefixlen": 64}
            ]
            for text in given:
                local, _, prefix = text.partition("/")
                info = {"family": "inet", "local": local, "prefixlen": int(prefix)}
                infos.append(info | ({"dynamic": True} if (host, name) in self.dynamic else {}))
            entries.append({"ifname": name, "flags": ["UP"], "addr_info": infos})
        lines += [self.heard(host, name, how) for name in sight.INTERFACES]
        lines.append("addresses " + json.dumps(entries))
        lines.append("routes " + json.dumps(self.routes[host]))
        return "\n".join([*lines, *self.extra[host]]) + "\n"

    def heard(self, host: str, name: str, how: str) -> str:
        peers = [
            end
            for ends in self.segments if (host, name) in ends
            for end in ends if end != (host, name)
        ]  # fmt: skip
        if how == "frames":
            return "\n".join(f"frame {name} {mac(*peer)}" for peer in peers)
        if how == "answers":
            own = f"answer {name} {fe80(host, name)}%{name}:"
            return "\n".join([own, *(f"answer {name} {fe80(*p)}%{name}:" for p in peers)])
        entries = [{"dst": f"fe80::{n}", "lladdr": mac(*peer), "state": ["STALE"]}
                   for n, peer in enumerate(peers)]  # fmt: skip
        return f"neighbours {name} {json.dumps(entries)}"

    def sights(self, how: str = "frames") -> dict[str, Sight]:
        return {host: sight.parse(self.told(host, how)) for host in self.hosts}


def pair() -> World:
    return World("spark-2", "spark-3").cable("spark-2", P1, "spark-3", P1)


def both_ports() -> World:
    return pair().cable("spark-2", P0, "spark-3", P0)


def ring() -> World:
    hosts = ("spark-1", "spark-2", "spark-3")
    made = World(*hosts)
    for place, host in enumerate(hosts):
        made.cable(host, P0, hosts[(place + 1) % 3], P1)
    return made


def switch(count: int = 4) -> World:
    hosts = tuple(f"spark-{number}" for number in range(1, count + 1))
    made = World(*hosts)
    return made.wire(*((host, name) for host in hosts for name in P0))


def mixed() -> World:
    made = World("spark-1", "spark-2", "spark-3").cable("spark-2", P1, "spark-3", P1)
    return made.wire(("spark-1", ETHERNET), ("spark-2", ETHERNET))


def loaded(world: World, tmp_path: Path, proposal: Proposal) -> Inventory:
    text = render([Node(host) for host in world.hosts], proposal, head=("Made for a test.",))
    return load(write(tmp_path / "sparks.yaml", text))


@pytest.mark.parametrize("how", ["frames", "answers", "neighbours"])
@pytest.mark.parametrize(
    ("world", "words", "rails", "links", "groups"),
    [
        (pair(), "pair by one cable", 4, 0, {"pair": ("spark-2", "spark-3")}),
        (both_ports(), "pair by both ports", 8, 0, {"pair": ("spark-2", "spark-3")}),
        (ring(), "ring of three", 12, 0, {"three": ("spark-1", "spark-2", "spark-3")}),
        (switch(), "switch of 4", 8, 0,
         {"all": ("spark-1", "spark-2", "spark-3", "spark-4")}),
        (switch(8), "switch of 8", 16, 0,
         {"all": tuple(f"spark-{number}" for number in range(1, 9))}),
        (mixed(), "pair by one cable; 10GbE between spark-1, spark-2", 4, 2,
         {"pair": ("spark-2", "spark-3")}),
    ],
    ids=["pair", "both-ports", "ring", "switch-4", "switch-8", "mixed"],
)  # fmt: skip
def test_every_topology_gives_an_inventory_that_loads(
    tmp_path: Path, world: World, words: str, rails: int, links: int,
    groups: Mapping[str, tuple[str, ...]], how: str,
) -> None:  # fmt: skip
    proposal = propose(world.sights(how))
    assert proposal.topology == words
    assert proposal.groups == groups
    inventory = loaded(world, tmp_path, proposal)
    hosts = inventory.hosts.values()
    assert sum(len(host.rails) for host in hosts) == rails
    assert sum(len(host.links) for host in hosts) == links
    assert inventory.groups == groups


def test_the_mixed_one_is_the_shipped_inventory() -> None:
    from . import world as shipped

    proposal = propose(mixed().sights())
    wanted = {
        (name, item.interface, item.address)
        for name, host in shipped.inventory().hosts.items()
        for item in host.interfaces
    }
    assert {(e.host, e.interface, e.address) for e in proposal.entries} == wanted


def test_a_ring_has_six_networks_each_of_two_ends() -> None:
    proposal = propose(ring().sights())
    networks: dict[str, list[End]] = {}
    for entry in proposal.entries:
        key = entry.address.rpartition(".")[0]
        networks.setdefault(key, []).append((entry.host, entry.interface))
    assert len(networks) == 6
    assert all(len(ends) == 2 for ends in networks.values())
    assert [("spark-1", P0[0]), ("spark-2", P1[0])] in networks.values()


def test_halves_that_hear_each_other_keep_a_network_each() -> None:
    ends = [(host, name) for host in ("spark-2", "spark-3") for name in P1]
    proposal = propose(World("spark-2", "spark-3").wire(*ends).sights())
    assert proposal.topology == "pair by one cable"
    assert [(e.host, e.interface, e.address) for e in proposal.entries] == [
        ("spark-2", P1[0], "192.168.100.10/24"),
        ("spark-2", P1[1], "192.168.101.10/24"),
        ("spark-3", P1[0], "192.168.100.11/24"),
        ("spark-3", P1[1], "192.168.101.11/24"),
    ]


def test_on_a_switch_hosts_may_use_different_ports() -> None:
    ends = [("spark-1", name) for name in P0] + [("spark-2", name) for name in P1]
    ends += [("spark-3", name) for name in P0]
    proposal = propose(World("spark-1", "spark-2", "spark-3").wire(*ends).sights())
    assert proposal.topology == "switch of 3"
    first = [e.interface for e in proposal.entries if e.address.startswith("192.168.100.")]
    assert first == [P0[0], P1[0], P0[0]]


def test_a_half_that_was_not_heard_is_inferred_from_its_other_half() -> None:
    world = World("spark-2", "spark-3").wire(("spark-2", P1[0]), ("spark-3", P1[0]))
    world.silent = {("spark-2", P1[1]), ("spark-3", P1[1])}
    proposal = propose(world.sights())
    (entry,) = [e for e in proposal.entries if (e.host, e.interface) == ("spark-2", P1[1])]
    assert "not seen itself; the other half of this cable was" in entry.why[0]


def test_a_half_without_a_link_is_not_inferred() -> None:
    world = World("spark-2", "spark-3").wire(("spark-2", P1[0]), ("spark-3", P1[0]))
    assert len(propose(world.sights()).entries) == 2


def test_a_link_of_which_nothing_was_seen_is_unknown_and_says_how_to_fill_it_in(
    tmp_path: Path,
) -> None:
    world = World("spark-2", "spark-3")
    world.silent = {(host, name) for host in world.hosts for name in P1}
    proposal = propose(world.sights())
    assert proposal.topology == "no cable seen at spark-2, spark-3"
    text = render([Node(host) for host in world.hosts], proposal)
    assert f"# {P1[0]} has a link. unknown: cable not seen." in text
    assert (
        f"#   - {{interface: {P1[0]}, device: {DEVICES[P1[0]]}, address: 192.168.N.M/24}}" in text
    )
    assert loaded(world, tmp_path, proposal).hosts["spark-2"].rails == ()


def test_old_entries_of_a_table_lose_against_frames() -> None:
    world = pair()
    world.hosts = ("spark-1", "spark-2", "spark-3")
    world.routes["spark-1"], world.extra["spark-1"] = [], []
    stale = [{"dst": "192.168.100.9", "lladdr": mac("spark-1", P1[0]), "state": ["STALE"]}]
    world.extra["spark-2"] = [f"neighbours {P1[0]} {json.dumps(stale)}"]
    found = discovery.segments(world.sights())
    assert all("spark-1" not in segment.hosts for segment in found)


def test_a_neighbour_that_does_not_answer_is_no_proof() -> None:
    world = World("spark-2", "spark-3")
    gone = [{"dst": "10.0.0.1", "lladdr": mac("spark-3", P1[0]), "state": ["FAILED"]}]
    world.extra["spark-2"] = [f"neighbours {P1[0]} {json.dumps(gone)}"]
    assert discovery.segments(world.sights()) == []


def test_own_frames_that_come_back_are_no_neighbour() -> None:
    world = World("spark-2", "spark-3")
    world.extra["spark-2"] = [f"frame {ETHERNET} {mac('spark-2', ETHERNET)}"]
    assert discovery.segments(world.sights()) == []


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("by_name", [True, False])
def test_lldp_is_a_proof(several: bool, by_name: bool) -> None:
    world = World("spark-2", "spark-3")
    ident = (
        {"type": "ifname", "value": P1[0]}
        if by_name
        else {"type": "mac", "value": mac("spark-3", P1[0]).upper()}
    )
    one = {P1[0]: {"chassis": {"spark-3.local": {}}, "port": {"id": ident}}}
    data = {"lldp": {"interface": [one, {ETHERNET: {}}] if several else one}}
    world.extra["spark-2"] = [f"lldp {json.dumps(data)}"]
    (segment,) = discovery.segments(world.sights())
    assert segment.ends == (("spark-2", P1[0]), ("spark-3", P1[0]))
    assert segment.proofs == ("LLDP",)


def test_a_qsfp_port_on_the_office_network_is_no_cable_to_10gbe() -> None:
    world = World("spark-2", "spark-3").wire(("spark-2", P1[0]), ("spark-3", ETHERNET))
    assert discovery.segments(world.sights()) == []


def test_a_ring_meets_on_a_10gbe_network_that_somebody_else_owns(tmp_path: Path) -> None:
    world = ring().wire(*((f"spark-{n}", ETHERNET) for n in (1, 2, 3)))
    for number in (1, 2, 3):
        host = f"spark-{number}"
        world.management[host] = ETHERNET
        world.address(host, ETHERNET, f"10.0.0.{number}/24").dynamic.add((host, ETHERNET))
    proposal = propose(world.sights())
    assert proposal.topology == "ring of three; 10GbE between spark-1, spark-2, spark-3"
    inventory = loaded(world, tmp_path, proposal)
    for number, found in enumerate(inventory.hosts.values(), 1):
        (link,) = found.links
        assert (link.address, link.managed) == (f"10.0.0.{number}/24", False)
    assert "SSH came in on it" in (tmp_path / "sparks.yaml").read_text()


def test_a_ring_whose_10gbe_ports_agree_on_nothing_has_no_link() -> None:
    world = ring().wire(*((f"spark-{n}", ETHERNET) for n in (1, 2, 3)))
    for number in (1, 2, 3):
        world.management[f"spark-{number}"] = ETHERNET
    proposal = propose(world.sights())
    assert all(entry.interface != ETHERNET for entry in proposal.entries)
    assert proposal.topology == "ring of three"
    assert any("left alone" in line for line in proposal.notes["spark-1"])


def test_a_ring_on_free_10gbe_ports_has_a_link_of_its_own() -> None:
    world = ring().wire(*((f"spark-{n}", ETHERNET) for n in (1, 2, 3)))
    links = [entry for entry in propose(world.sights()).entries if entry.interface == ETHERNET]
    assert [entry.address for entry in links] == [f"192.168.106.{n}/24" for n in (10, 11, 12)]
    assert all(entry.managed for entry in links)


def plugs(world: World) -> str:
    return "\n".join(line for lines in propose(world.sights()).notes.values() for line in lines)


def test_plugs_that_are_known_to_fail_are_told() -> None:
    crossed = World("spark-2", "spark-3").cable("spark-2", P0, "spark-3", P1)
    assert f"{P0[0]} faces spark-3 {P1[0]}: pairs with a crossed cable have failed" in plugs(
        crossed
    )
    twisted = World("spark-1", "spark-2", "spark-3")
    twisted.cable("spark-1", P0, "spark-2", P1).cable("spark-2", P0, "spark-3", P0)
    twisted.cable("spark-3", P1, "spark-1", P1)
    assert f"{P0[0]} faces spark-3 {P0[0]}: a ring goes port 0 to port 1" in plugs(twisted)
    for world in (pair(), both_ports(), ring(), switch(), mixed()):
        assert "faces" not in plugs(world)


def test_a_group_of_more_than_two_comes_with_a_word_on_pairs() -> None:
    text = render([Node(host) for host in switch(3).hosts], propose(switch(3).sights()))
    assert "# For a model that fits two: pair: [spark-1, spark-2]" in text
    assert "fits two" not in render([Node(host) for host in pair().hosts], propose(pair().sights()))


def test_the_comments_say_what_an_interface_faces_and_whether_its_network_is_new() -> None:
    entries = {(e.host, e.interface): e.why[0] for e in propose(ring().sights()).entries}
    assert (
        entries["spark-1", P0[0]]
        == f"faces spark-2 {P1[0]}, seen by frames; 192.168.100.0/24 is new"
    )
    (why, *_) = [e.why[0] for e in propose(switch(3).sights()).entries if e.host == "spark-1"]
    assert why == "on one segment with spark-2, spark-3, seen by frames; 192.168.100.0/24 is new"


# Addresses


def addresses(proposal: Proposal) -> dict[End, str]:
    return {(entry.host, entry.interface): entry.address for entry in proposal.entries}


def test_what_is_configured_consistently_is_kept() -> None:
    world = pair()
    for host, last in (("spark-2", 1), ("spark-3", 2)):
        world.address(host, P1[0], f"10.9.0.{last}/24").address(host, P1[1], f"10.9.1.{last}/24")
    found = addresses(propose(world.sights()))
    assert found[("spark-2", P1[0])] == "10.9.0.1/24"
    assert found[("spark-3", P1[1])] == "10.9.1.2/24"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(("192.168.177.11/24", "192.168.177.12/24"), id="both halves in one subnet"),
        pytest.param(("169.254.3.4/16", "169.254.5.6/16"), id="link-local"),
        pytest.param(("192.168.100.10/24",), id="one side only"),
    ],
)
def test_what_is_not_consistent_is_replaced_and_avoided(given: Sequence[str]) -> None:
    world = pair()
    for name, address in zip(P1, given, strict=False):
        world.address("spark-2", name, address)
        if len(given) > 1:
            head, _, last = address.partition("/")[0].rpartition(".")
            world.address("spark-3", name, f"{head}.{int(last) + 10}/{address.partition('/')[2]}")
    proposal = propose(world.sights())
    found = addresses(proposal)
    assert set(found.values()).isdisjoint(given)
    subnets = {address.rpartition(".")[0] for address in found.values()}
    assert len(subnets) == 2
    assert ("192.168.100" in subnets) is (given[0] != "192.168.100.10/24")
    (entry,) = [e for e in proposal.entries if (e.host, e.interface) == ("spark-2", P1[0])]
    assert (f"it has {given[0]} now" in entry.why) is not given[0].startswith("169.254.")


def test_the_same_address_on_both_sides_is_not_kept() -> None:
    world = pair()
    for host in world.hosts:
        world.address(host, P1[0], "10.9.0.1/24")
    assert addresses(propose(world.sights()))[("spark-2", P1[0])] == "192.168.100.10/24"


def test_networks_that_anyone_routes_are_skipped() -> None:
    world = mixed()
    world.routes["spark-1"] = [{"dst": "192.168.100.0/23", "dev": "wlP9s9"}]
    world.address("spark-3", "wlP9s9", "192.168.104.7/22")
    found = addresses(propose(world.sights(), [IPv4Network("192.168.102.0/24")]))
    assert found[("spark-2", P1[0])] == "192.168.103.10/24"
    assert found[("spark-2", P1[1])] == "192.168.108.10/24"
    assert found[("spark-1", ETHERNET)] == "192.168.109.10/24"


def test_a_default_route_is_no_network() -> None:
    world = pair()
    world.routes["spark-2"] = [{"dst": "default", "dev": "wlP9s9"}, {"dst": "0.0.0.0/0"}]
    assert addresses(propose(world.sights()))[("spark-2", P1[0])] == "192.168.100.10/24"


@pytest.mark.parametrize("owner", ["ssh", "route", "dhcp"])
def test_a_10gbe_port_with_an_owner_is_left_alone(owner: str) -> None:
    world = mixed()
    if owner == "ssh":
        world.management["spark-2"] = ETHERNET
    elif owner == "route":
        world.routes["spark-2"] = [{"dst": "default", "dev": ETHERNET}]
    else:
        world.address("spark-2", ETHERNET, "10.0.0.7/24").dynamic.add(("spark-2", ETHERNET))
    proposal = propose(world.sights())
    assert all(entry.interface != ETHERNET for entry in proposal.entries)
    (note,) = [line for line in proposal.notes["spark-2"] if ETHERNET in line]
    assert "left alone" in note
    assert proposal.topology == "pair by one cable; no cable seen at spark-1"


def test_when_all_of_192_168_is_routed_another_range_is_used() -> None:
    found = addresses(propose(pair().sights(), [IPv4Network("192.168.0.0/16")]))
    assert found[("spark-2", P1[0])] == "10.100.0.10/24"


# Reading


def test_interfaces_that_are_down_or_absent_are_told(tmp_path: Path) -> None:
    text = "hostname spark-2\nport enp1s0f1np1 52:54:00:5a:02:05 0\naddresses []\n"
    sights = {"spark-2": sight.parse(text), "spark-3": sight.parse("hostname spark-3\n")}
    notes = propose(sights).notes
    assert "set down" in notes["spark-2"][0]
    assert "no QSFP interface now" in notes["spark-3"][0]


def test_neighbours_without_a_device_are_read() -> None:
    seen = sight.parse('neighbours enp1s0f1np1 [{"dst":"fe80::1","lladdr":"52:54:00:AA:00:01"}]\n')
    assert seen.glimpses == (sight.Glimpse("enp1s0f1np1", "52:54:00:aa:00:01", "IPv6 neighbours"),)


WORDS = ("hostname", "management", "port", "device", "frame", "answer", "neighbours", "lldp",
         "addresses", "routes", "ipv6-off")  # fmt: skip
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["lldp", "interface", "port", "id", "value", "chassis", "ifname", "dst",
                         "lladdr", "state", "addr_info", "family", "local", "prefixlen", "dev"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(WORDS), st.text(max_size=20) | JSON.map(json.dumps))))
def test_whatever_a_node_tells_gives_a_proposal(lines: list[tuple[str, str]]) -> None:
    text = "\n".join(f"{word} {rest}" for word, rest in lines)
    seen = sight.parse(text)
    propose({"spark-1": seen, "spark-2": sight.parse(pair().told("spark-2", "frames"))})
