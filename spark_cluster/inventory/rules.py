"""What must be true of hosts together, each rule with what breaks without it. Pure.

Rules about one host or one interface stand with their fields, in models.py.
"""

from __future__ import annotations

from spark_cluster.document import Source, suggest
from spark_cluster.inventory.models import HOST_NAME, Inventory, Managed, Rail
from spark_cluster.inventory.sight import DEVICES, HALVES, port


def check(source: Source, inventory: Inventory) -> None:
    """Raises InputError with line and field for the first rule that is broken."""
    _names(source, inventory)
    _addresses(source, inventory)
    _rails(source, inventory)
    _devices(source, inventory)
    _cables(source, inventory)
    _links(source, inventory)
    _groups(source, inventory)


def _names(source: Source, inventory: Inventory) -> None:
    for name in inventory.hosts:
        if not HOST_NAME.fullmatch(name):
            raise source.error(
                ("hosts", name), f"{name!r} is no host name", "Use letters, digits and '-'."
            )


def _addresses(source: Source, inventory: Inventory) -> None:
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


def _rails(source: Source, inventory: Inventory) -> None:
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


def _devices(source: Source, inventory: Inventory) -> None:
    """Where both names are a Spark's own, they belong together."""
    for name, host in inventory.hosts.items():
        for number, rail in enumerate(host.rails):
            own = DEVICES.get(rail.interface, rail.device)
            if own != rail.device and rail.device in DEVICES.values():
                raise source.error(
                    ("hosts", name, "rails", number, "device"),
                    f"{rail.device} belongs to another half; {rail.interface} has {own}",
                    f"Write `device: {own}`: RDMA would leave by a half that has another address.",
                )


def _cables(source: Source, inventory: Inventory) -> None:
    """A cable has two ends: both halves of a port face the same port of the same host.

    Only where a subnet joins two hosts: on a switch a port faces many.
    """
    for name, host in inventory.hosts.items():
        faced: dict[int, tuple[Rail, str]] = {}
        for number, rail in enumerate(host.rails):
            peers = inventory.peers(name, rail)
            if len(peers) != 1 or rail.interface not in HALVES:
                continue
            (peer, end), mine = peers[0], port(rail.interface)
            if end.interface not in HALVES:
                continue
            there = f"{peer}, port {port(end.interface)}"
            other, before = faced.setdefault(mine, (rail, there))
            if before != there:
                raise source.error(
                    ("hosts", name, "rails", number, "address"),
                    f"by its subnet {rail.interface} ({rail.address}) faces {there}, but "
                    f"{other.interface} ({other.address}), the other half of port {mine}, faces "
                    f"{before}",
                    "A cable has two ends, and both halves of a port use it: give each half a "
                    "subnet with a half of the port at the other end.",
                )


def _links(source: Source, inventory: Inventory) -> None:
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


def _groups(source: Source, inventory: Inventory) -> None:
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
