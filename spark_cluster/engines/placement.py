"""Which host is which rank, and by which rails they speak."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.error import InputError
from spark_cluster.inventory.models import Host, Inventory, Rail
from spark_cluster.recipes.models import Recipe


@dataclass(frozen=True)
class Placement:
    """`hosts` in the order of their ranks, the head first; `rails` are those that NCCL may use."""

    group: str
    hosts: tuple[Host, ...]
    rails: tuple[tuple[Rail, ...], ...]

    def address(self, rank: int) -> str:
        """The rank's address on its first rail."""
        return self.rails[rank][0].ip

    @property
    def head(self) -> Host:
        return self.hosts[0]


def place(recipe: Recipe, inventory: Inventory, group: str, names: tuple[str, ...]) -> Placement:
    """Put the recipe on the group's hosts. Raises InputError when it does not go there."""
    if len(names) != recipe.nodes:
        raise InputError(
            f"{recipe.name} needs {recipe.nodes} hosts and the group {group} has {len(names)}",
            place=str(inventory.path),
            remedy="Choose another group with --group, or change the group.",
        )
    hosts = tuple(inventory.hosts[name] for name in names)
    wanted = 1 if recipe.rails == "single" else 2
    for host in hosts:
        if len(host.rails) < wanted:
            raise InputError(
                f"{host.name} has {len(host.rails)} rails; {recipe.name} uses {wanted} per host",
                place=str(inventory.path),
                remedy=f"Add rails to {host.name}, or choose another group with --group.",
            )
    rails = tuple(host.rails[:wanted] for host in hosts)
    first = rails[0][0]
    for host, chosen in zip(hosts, rails, strict=True):
        if chosen[0].network != first.network:
            raise InputError(
                f"the first rail of {host.name} ({chosen[0].address}) is not in the network of "
                f"the head's ({first.address})",
                place=str(inventory.path),
                remedy="List the rails of all hosts of a group in the same order.",
            )
    return Placement(group, hosts, rails)
