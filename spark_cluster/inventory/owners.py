"""Whose an address of a rail is."""

from __future__ import annotations

from spark_cluster.inventory.models import Inventory
from spark_cluster.rdma.owners import Owner


def owners(inventory: Inventory) -> dict[str, Owner]:
    """The rails of an inventory, by address."""
    return {
        rail.ip: Owner(name, rail.interface, rail.device, str(rail.network))
        for name, host in inventory.hosts.items()
        for rail in host.rails
    }
