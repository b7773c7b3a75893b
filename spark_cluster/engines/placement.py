"""Which host is which rank, and by which rails they speak."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from spark_cluster.core.error import InputError
from spark_cluster.core.units import count
from spark_cluster.inventory.models import Host, Inventory, Managed, Rail
from spark_cluster.recipes.models import Recipe


@dataclass(frozen=True)
class Placement:
    """`hosts` in the order of their ranks, the head first; `rails` are those that NCCL may use.

    `sockets` are the interfaces on the one network that all hosts are on, where the ranks find each
    other: the first rail, or a link where each cable joins only two hosts, as in a ring. A host
    that serves alone has neither.
    """

    group: str
    hosts: tuple[Host, ...]
    rails: tuple[tuple[Rail, ...], ...]
    sockets: tuple[Managed, ...]

    def address(self, rank: int) -> str:
        """Where the other ranks find this one; this very host if it serves alone."""
        return self.sockets[rank].ip if self.sockets else "127.0.0.1"

    @property
    def head(self) -> Host:
        return self.hosts[0]

    @property
    def networks(self) -> frozenset[IPv4Network]:
        """Those of all rails: one, one for each half, or those of a ring's cables."""
        return frozenset(rail.network for rails in self.rails for rail in rails)

    @property
    def prefix_length(self) -> int | None:
        """How many leading bits of two rails' addresses are equal where both are in one network,
        and only there: NCCL compares so many. None if no number does."""
        rails = [rail for mine in self.rails for rail in mine]
        lengths = sorted({rail.network.prefixlen for rail in rails}, reverse=True)
        fitting = (bits for bits in (*lengths, *range(32, 0, -1)) if _tells_apart(rails, bits))
        return next(fitting, None)

    @property
    def is_ring(self) -> bool:
        """Each cable joins only two of the hosts."""
        return any(
            rail.network not in {other.network for other in rails}
            for mine in self.rails for rail in mine for rails in self.rails
        )  # fmt: skip


def _tells_apart(rails: Sequence[Rail], bits: int) -> bool:
    shift = 32 - bits
    return all(
        (one.network == other.network)
        == (int(IPv4Address(one.ip)) >> shift == int(IPv4Address(other.ip)) >> shift)
        for one, other in combinations(rails, 2)
    )


def place(recipe: Recipe, inventory: Inventory, group: str, names: tuple[str, ...]) -> Placement:
    """Put the recipe on the group's hosts. Raises InputError when it does not go there."""
    if len(names) != recipe.nodes:
        raise InputError(
            f"{recipe.name} needs {count(recipe.nodes, 'host')} and the group {group} has "
            f"{len(names)}",
            place=str(inventory.path),
            remedy=f"Name a group of {count(recipe.nodes, 'host')}, or the hosts themselves with "
            "commas between them, the head first.",
        )
    hosts = tuple(inventory.hosts[name] for name in names)
    if recipe.nodes == 1:
        return Placement(group, hosts, ((),), ())
    wanted = 1 if recipe.rails == "single" else 2
    for host in hosts:
        if len(host.rails) < wanted:
            raise InputError(
                f"{host.name} has {len(host.rails)} rails; {recipe.name} uses {wanted} per host",
                place=str(inventory.path),
                remedy=f"Add rails to {host.name}, or name another group.",
            )
    shared = _shared(hosts)
    if shared:
        if len(shared) < wanted:
            raise InputError(
                f"{', '.join(names)} share one rail; {recipe.name} uses {wanted} per host",
                place=str(inventory.path),
                remedy="Give the other half of the port an address in one subnet on all of them.",
            )
        rails = tuple(tuple(_on(host.rails, shared[:wanted])) for host in hosts)
        return Placement(group, hosts, rails, tuple(mine[0] for mine in rails))
    return _ring(inventory, group, hosts, wanted)


def _shared(hosts: tuple[Host, ...]) -> list[IPv4Network]:
    """The networks in which every host has a rail, in the order of the head's rails."""
    others = [{rail.network for rail in host.rails} for host in hosts[1:]]
    return [rail.network for rail in hosts[0].rails if all(rail.network in mine for mine in others)]


def _on(rails: Iterable[Rail], networks: Iterable[IPv4Network]) -> Iterator[Rail]:
    """The rails in these networks, in the networks' order."""
    known = {rail.network: rail for rail in rails}
    return (known[network] for network in networks if network in known)


def _ring(inventory: Inventory, group: str, hosts: tuple[Host, ...], wanted: int) -> Placement:
    """Every two hosts have a cable of their own: NCCL uses all of them, the rest a common link."""
    chosen: list[IPv4Network] = []
    for one, other in combinations(hosts, 2):
        between = _shared((one, other))
        if not between:
            raise InputError(
                f"{one.name} and {other.name} have no rail in one subnet",
                place=str(inventory.path),
                remedy="Every two hosts of a group need a rail in one subnet, by a cable of their "
                "own or by a switch. Name another group.",
            )
        chosen += between[:wanted]
    links = [
        [link for host in hosts for link in host.links if link.network == first.network]
        for first in hosts[0].links
    ]
    common = next((them for them in links if len(them) == len(hosts)), None)
    if common is None:
        raise InputError(
            f"no network joins all of {', '.join(host.name for host in hosts)}: each of their "
            "cables joins two, and the ranks need one where all find each other",
            place=str(inventory.path),
            remedy="Add the 10GbE port to `links:` of all of them, with addresses in one subnet.",
        )
    rails = tuple(tuple(rail for rail in host.rails if rail.network in chosen) for host in hosts)
    return Placement(group, hosts, rails, tuple(common))
