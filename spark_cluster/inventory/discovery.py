"""From what the nodes saw to which port faces which. Pure.

`segments` joins what the nodes saw to sets of interfaces that hear each other: two are a cable,
more are a switch. On a Spark both halves of a port are functions of one ConnectX-7 and may hear
each other's broadcasts, so that a segment can hold both halves of a host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from spark_cluster.inventory.sight import (
    DEVICES,
    ETHERNET,
    INTERFACES,
    Glimpse,
    Sight,
    half,
    other_half,
    port,
)

#: Names of what can prove that two interfaces hear each other, best first.
PROOFS = ("frames", "IPv6 neighbours", "LLDP", "IPv4 neighbours")

#: A host and one of its interfaces.
End = tuple[str, str]


@dataclass(frozen=True)
class Segment:
    """Interfaces that hear each other, in the order of hosts and ports, and what proved it."""

    ends: tuple[End, ...]
    proofs: tuple[str, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(host for host, _ in self.ends))


@dataclass(frozen=True)
class Network:
    """One interface of each of two or more hosts: what needs a subnet of its own.

    `inferred`: not seen itself, but the other half of the same cable was.
    """

    ends: tuple[End, ...]
    proofs: tuple[str, ...] = ()
    inferred: bool = False

    @property
    def is_rail(self) -> bool:
        return self.ends[0][1] in DEVICES

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(host for host, _ in self.ends)

    def interface(self, host: str) -> str:
        return next(interface for name, interface in self.ends if name == host)


# Solving


def segments(sights: Mapping[str, Sight]) -> list[Segment]:
    """The interfaces that hear each other across at least two hosts."""
    who: dict[str, End] = {}
    for host, sight in sights.items():
        for name, item in sight.ports.items():
            for mark in (item.mac, *item.ipv6, f"{sight.hostname.partition('.')[0]}/{name}"):
                if mark:
                    who.setdefault(mark, (host, name))
    joined: dict[End, set[End]] = {}
    proofs: dict[frozenset[End], set[str]] = {}
    for host, sight in sights.items():
        for name in sight.ports:
            here = (host, name)
            mine = [glimpse for glimpse in sight.glimpses if glimpse.interface == name]
            for there, how in _heard(here, mine, who):
                joined.setdefault(here, set()).add(there)
                joined.setdefault(there, set()).add(here)
                proofs.setdefault(frozenset((here, there)), set()).add(how)
    found = []
    order = {(host, name): (place, INTERFACES.index(name))
             for place, host in enumerate(sights) for name in INTERFACES}  # fmt: skip
    for ends in _components(joined):
        seen_by = {proof for pair, seen in proofs.items() if pair <= ends for proof in seen}
        segment = Segment(
            tuple(sorted(ends, key=lambda end: order[end])),
            tuple(proof for proof in PROOFS if proof in seen_by),
        )
        if len(segment.hosts) > 1:
            found.append(segment)
    return sorted(found, key=lambda segment: order[segment.ends[0]])


def _heard(here: End, glimpses: Sequence[Glimpse], who: Mapping[str, End]) -> list[tuple[End, str]]:
    """What an interface heard. Where it heard frames, entries of tables that say else are old."""
    heard = [
        (there, glimpse.how)
        for glimpse in glimpses
        if (there := who.get(glimpse.who)) is not None and there != here and _alike(here, there)
    ]
    now = {there for there, how in heard if how == "frames"}
    return [(there, how) for there, how in heard if not now or there in now]


def _alike(one: End, other: End) -> bool:
    """QSFP faces QSFP and 10GbE faces 10GbE; Wi-Fi is no cable."""
    kinds = {"rail" if name in DEVICES else name for name in (one[1], other[1])}
    return kinds in ({"rail"}, {ETHERNET})


def _components(joined: Mapping[End, Iterable[End]]) -> list[set[End]]:
    found: list[set[End]] = []
    left = set(joined)
    while left:
        pending, ends = [left.pop()], set[End]()
        while pending:
            end = pending.pop()
            ends.add(end)
            pending += [other for other in joined[end] if other not in ends]
        left -= ends
        found.append(ends)
    return found


def networks(found: Sequence[Segment], sights: Mapping[str, Sight]) -> list[Network]:
    """A network per half and port of each segment, and those halves that can be inferred."""
    result: list[Network] = []
    for segment in found:
        groups: dict[tuple[int, int], list[End]] = {}
        counts: dict[tuple[str, int], int] = {}
        for host, name in segment.ends:
            side = half(name) if name in DEVICES else 0
            place = counts[host, side] = counts.get((host, side), -1) + 1
            groups.setdefault((side, place), []).append((host, name))
        for _, ends in sorted(groups.items()):
            if len(ends) > 1:
                result.append(Network(tuple(ends), segment.proofs))
    used = {end for network in result for end in network.ends}
    for network in list(result):
        if not network.is_rail:
            continue
        others = tuple((host, other_half(name)) for host, name in network.ends)
        there = [sights[host].ports.get(name) for host, name in others]
        if not used & set(others) and all(item is not None and item.carrier for item in there):
            result.append(Network(others, inferred=True))
            used |= set(others)
    return sorted(result, key=lambda network: (not network.is_rail, _first(network, sights)))


def _first(network: Network, sights: Mapping[str, Sight]) -> tuple[int, int]:
    host, name = network.ends[0]
    return list(sights).index(host), INTERFACES.index(name)


def topology(found: Sequence[Network], hosts: Sequence[str]) -> str:
    """What it is, in words: `pair by one cable`, `ring of three`, `switch of 4`, …"""
    rails = [network for network in found if network.is_rail]
    pairs = {frozenset(network.hosts) for network in rails if len(network.hosts) == 2}
    words = []
    joined = {host for network in rails for host in network.hosts}
    if any(len(network.hosts) > 2 for network in rails):
        words.append(f"switch of {len(joined)}")
    elif len(pairs) == 1:
        ports = {port(network.ends[0][1]) for network in rails}
        words.append("pair by one cable" if len(ports) == 1 else "pair by both ports")
    elif len(pairs) == 3 and len(joined) == 3:
        words.append("ring of three")
    elif pairs:
        words.append(f"{len(pairs)} pairs by cable")
    segments = [network for network in found if not network.is_rail]
    words += [f"10GbE between {', '.join(network.hosts)}" for network in segments]
    alone = [host for host in hosts if all(host not in network.hosts for network in found)]
    if alone:
        words.append(f"no cable seen at {', '.join(alone)}")
    return "; ".join(words) or "no cable seen"


def groups(found: Sequence[Network], hosts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The hosts that can serve together: those that all share a rail with each other."""
    pairs = {
        frozenset((one, other))
        for network in found if network.is_rail
        for one in network.hosts for other in network.hosts if one != other
    }  # fmt: skip
    joined = [host for host in hosts if any(host in pair for pair in pairs)]
    if not pairs:
        return {}
    if len(pairs) == len(joined) * (len(joined) - 1) // 2:
        name = {2: "pair", 3: "three"}.get(len(joined), "all")
        return {name: tuple(joined)}
    ordered = [tuple(host for host in hosts if host in pair) for pair in pairs]
    return {"-and-".join(pair): pair for pair in sorted(ordered)}


def lacks_a_common_rail(found: Sequence[Network], hosts: Sequence[str]) -> set[str]:
    """The hosts of a group whose cables join only two each, as in a ring; empty if there is none.

    They need another network to find each other.
    """
    rails = [set(network.hosts) for network in found if network.is_rail]
    for members in groups(found, hosts).values():
        if len(members) > 2 and not any(set(members) <= joined for joined in rails):
            return set(members)
    return set()
