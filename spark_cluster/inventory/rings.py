"""Cables that form a ring: which ports they join. Pure.

A ring is three hosts or more of which each is joined to the next by a cable of its own, so that no
subnet holds all of them. NCCL gives every peer the address of its first device: what a cable joins
must be port 0 of the one to port 1 of the next, all around. With equal ports the ends that are
paired share no cable, and `ibv_modify_qp` fails with error 110 whatever is set
(NCCL 2.30.7, src/transport/net_ib/connect.cc; spark-vllm-docker issue 252).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from spark_cluster.inventory.models import Host, Inventory, Rail
from spark_cluster.inventory.sight import HALVES, port


@dataclass(frozen=True)
class Cable:
    """Two halves in a subnet that joins these two hosts alone."""

    one: str
    rail: Rail
    other: str
    end: Rail

    @property
    def joins_equal_ports(self) -> bool:
        """False also where a name is not a Spark's own: nothing tells its port."""
        known = self.rail.interface in HALVES and self.end.interface in HALVES
        return known and port(self.rail.interface) == port(self.end.interface)

    @property
    def text(self) -> str:
        return (
            f"{self.one} {self.rail.interface} ({self.rail.address}) to "
            f"{self.other} {self.end.interface} ({self.end.address})"
        )


def cables(hosts: Sequence[Host]) -> tuple[Cable, ...]:
    """The cables of a ring of these hosts, both halves of each; none if they form no ring."""
    found = [
        Cable(one.name, rail, other.name, end)
        for one, other in combinations(hosts, 2)
        for rail in one.rails
        for end in other.rails
        if rail.network == end.network
    ]
    ends: dict[object, set[str]] = {}
    for cable in found:
        ends.setdefault(cable.rail.network, set()).update((cable.one, cable.other))
    if any(len(names) > 2 for names in ends.values()):
        return ()  # a switch, or one network for all
    pairs = {frozenset((cable.one, cable.other)) for cable in found}
    degrees = [sum(host.name in pair for pair in pairs) for host in hosts]
    return tuple(found) if len(hosts) > 2 and all(count >= 2 for count in degrees) else ()


def equal_ports(hosts: Sequence[Host]) -> tuple[Cable, ...]:
    """The cables of a ring that join equal ports: with them NCCL does not come up."""
    return tuple(cable for cable in cables(hosts) if cable.joins_equal_ports)


#: What to do about them.
REMEDY = (
    "Plug the cables so that port 0 of each host leads to port 1 of the next, all around, and give "
    "the halves the addresses of where they lead then; `spark-cluster init` sees it."
)


def fault(group: str, hosts: Sequence[Host]) -> str:
    """What is wrong with the group's ring; empty if nothing is."""
    equal = equal_ports(hosts)
    if not equal:
        return ""
    more = f" (and {len(equal) - 1} more)" if len(equal) > 1 else ""
    return (
        f"the cables of {group} form a ring and join equal ports: {equal[0].text}{more}; NCCL "
        "pairs ports that share no cable then, and ends with `ibv_modify_qp` error 110 whatever "
        "is set"
    )


def warnings(inventory: Inventory) -> tuple[str, ...]:
    """A line for each group of the inventory that can never serve as a ring."""
    said = (
        fault(group, [inventory.hosts[name] for name in members])
        for group, members in inventory.groups.items()
    )
    return tuple(f"{text}. {REMEDY}" for text in said if text)
