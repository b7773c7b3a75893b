"""Find, read and check an inventory."""

from __future__ import annotations

import os
from pathlib import Path

from spark_cluster import places
from spark_cluster.core.error import InputError
from spark_cluster.document import Source, read, suggest, validate
from spark_cluster.inventory.models import HOST_NAME, Inventory, Managed
from spark_cluster.transport.protocol import Target

FILE = "sparks.yaml"


def find(given: str | None) -> Path:
    """The inventory's path: --inventory, $SPARK_CLUSTER_INVENTORY, the current one, ours.

    `lab up` makes the lab's inventory the current one until `lab down`.
    """
    named = given or os.environ.get("SPARK_CLUSTER_INVENTORY")
    if named:
        path = Path(named).expanduser()
        return path / FILE if path.is_dir() else path
    pointer = places.current_inventory_pointer()
    if pointer.is_file():
        path = Path(pointer.read_text(encoding="utf-8").strip())
        if path.is_file():
            return path
    for folder in places.search_path("inventory"):
        if (folder / FILE).is_file():
            return folder / FILE
    raise InputError(
        "no inventory found",
        remedy=f"Write inventory/{FILE} here, or name one with --inventory FILE.",
    )


def load(path: Path) -> Inventory:
    """Read and check. Raises InputError with file, line and field."""
    source = read(path.absolute())
    inventory = validate(source, Inventory)
    inventory._path = path.absolute()
    _check_names(source, inventory)
    _check_addresses(source, inventory)
    _check_rails(source, inventory)
    _check_links(source, inventory)
    _check_groups(source, inventory)
    return inventory


def _check_names(source: Source, inventory: Inventory) -> None:
    for name in inventory.hosts:
        if not HOST_NAME.fullmatch(name):
            raise source.error(
                ("hosts", name), f"{name!r} is no host name", "Use letters, digits and '-'."
            )


def _check_addresses(source: Source, inventory: Inventory) -> None:
    seen: dict[str, str] = {}
    for name, host in inventory.hosts.items():
        parts: tuple[tuple[str, tuple[Managed, ...]], ...]
        parts = (("rails", host.rails), ("links", host.links))
        for kind, items in parts:
            for number, item in enumerate(items):
                owner = f"{name} {item.interface}"
                if item.ip in seen:
                    raise source.error(
                        ("hosts", name, kind, number, "address"),
                        f"{item.ip} is also the address of {seen[item.ip]}",
                        "Every interface of every host needs its own address.",
                    )
                seen[item.ip] = owner


def _check_rails(source: Source, inventory: Inventory) -> None:
    """Rails of different hosts on one network must agree on it and on the MTU."""
    entries = [
        (name, number, rail)
        for name, host in inventory.hosts.items()
        for number, rail in enumerate(host.rails)
    ]
    for position, (name, number, rail) in enumerate(entries):
        at = ("hosts", name, "rails", number)
        for other_name, _, other in entries[:position]:
            if other_name == name or not rail.network.overlaps(other.network):
                continue
            if rail.network != other.network:
                raise source.error(
                    (*at, "address"),
                    f"{rail.address} is in {rail.network}, but {other_name} {other.interface} "
                    f"has the overlapping network {other.network}",
                    "Use the same prefix length on both ends of a cable.",
                )
            if rail.mtu != other.mtu:
                raise source.error(
                    (*at, "mtu"),
                    f"MTU {rail.mtu}, but {other_name} {other.interface} on the same network has "
                    f"{other.mtu}",
                    "Both ends of a cable need the same MTU; 9000 is the default.",
                )
    for name, number, rail in entries:
        if not inventory.peers(name, rail):
            raise source.error(
                ("hosts", name, "rails", number, "address"),
                f"{rail.address} is outside its subnet: no other host has a rail in {rail.network}",
                "The two ends of a cable need addresses in one subnet, such as 192.168.100.10/24 "
                "and 192.168.100.11/24. Correct the address, or remove the rail.",
            )


def _check_links(source: Source, inventory: Inventory) -> None:
    """A link shares no subnet with a rail, and links that share one agree on its size."""
    rails = [(name, rail) for name, host in inventory.hosts.items() for rail in host.rails]
    links = [(name, number, link) for name, host in inventory.hosts.items()
             for number, link in enumerate(host.links)]  # fmt: skip
    for position, (name, number, link) in enumerate(links):
        at = ("hosts", name, "links", number, "address")
        for owner, rail in rails:
            if link.network.overlaps(rail.network):
                raise source.error(
                    at,
                    f"{link.address} is in the subnet of a rail: {owner} {rail.interface} has "
                    f"{rail.address}",
                    "Give the link a subnet of its own: with one for both, the kernel chooses the "
                    "way, and what should cross the QSFP cable may take the slow link.",
                )
        for owner, _, other in links[:position]:
            if link.network == other.network and owner == name:
                raise source.error(
                    at,
                    f"{link.interface} and {other.interface} ({other.address}) are in one subnet",
                    "Give each interface of a host a subnet of its own; the kernel uses only one "
                    "of two for both.",
                )
            if link.network.overlaps(other.network) and link.network != other.network:
                raise source.error(
                    at,
                    f"{link.address} is in {link.network}, but {owner} {other.interface} has the "
                    f"overlapping network {other.network}",
                    "Use the same prefix length on all hosts of a segment.",
                )


def _check_groups(source: Source, inventory: Inventory) -> None:
    for group, members in inventory.groups.items():
        for number, member in enumerate(members):
            if member not in inventory.hosts:
                raise source.error(
                    ("groups", group, number),
                    f"there is no host {member!r}",
                    suggest(member, list(inventory.hosts), "hosts"),
                )
            if member in members[:number]:
                raise source.error(
                    ("groups", group, number),
                    f"{member} is in the group twice",
                    "Name each host once, the head first.",
                )
        if not members:
            raise source.error(
                ("groups", group), "the group is empty", "Name its hosts, the head first."
            )


def select(inventory: Inventory, hosts: list[str] | None) -> list[str]:
    """The named hosts (or those of the named groups) in the inventory's order; all by default."""
    if not hosts:
        return list(inventory.hosts)
    chosen: set[str] = set()
    for name in hosts:
        if name in inventory.groups:
            chosen.update(inventory.groups[name])
        elif name in inventory.hosts:
            chosen.add(name)
        else:
            known = [*inventory.hosts, *inventory.groups]
            raise InputError(
                f"there is no host or group {name!r} in the inventory",
                place=str(inventory.path),
                remedy=suggest(name, known, "hosts and groups"),
            )
    return [name for name in inventory.hosts if name in chosen]


def group(inventory: Inventory, name: str | None) -> tuple[str, tuple[str, ...]]:
    """The group's name and its hosts, head first; the only group if none is named."""
    if name is None:
        if len(inventory.groups) == 1:
            return next(iter(inventory.groups.items()))
        raise InputError(
            f"the inventory has {len(inventory.groups)} groups; which one serves?",
            place=str(inventory.path),
            remedy=f"Name it with --group: {', '.join(inventory.groups) or 'add `groups:` first'}.",
        )
    if name not in inventory.groups:
        raise InputError(
            f"there is no group {name!r} in the inventory",
            place=str(inventory.path),
            remedy=suggest(name, list(inventory.groups), "groups"),
        )
    return name, inventory.groups[name]


def target(inventory: Inventory, name: str) -> Target:
    """Where and how to reach the host."""
    host = inventory.hosts[name]
    folder = inventory.path.parent

    def absolute(given: str | None) -> str | None:
        return str(folder / Path(given).expanduser()) if given else None

    return Target(
        name=name,
        address=inventory.reachable_address(name),
        user=host.user,
        port=host.port,
        identity=absolute(host.identity),
        ssh_config=absolute(inventory.ssh.config),
        known_hosts=absolute(inventory.ssh.known_hosts),
        connect_timeout=inventory.ssh.connect_timeout,
    )
