"""What must be true of hosts together, each rule with what breaks without it. Pure.

Rules about one host or one interface stand with their fields, in models.py.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface, ip_address
from typing import Any

from spark_cluster.document import Source, suggest
from spark_cluster.inventory.models import HOST_NAME, Inventory, Link, Rail
from spark_cluster.inventory.sight import DEVICES, HALVES, port

Loc = tuple[str | int, ...]


def check(source: Source, inventory: Inventory) -> None:
    """Raises InputError with line and field for the first rule that is broken."""
    _names(source, inventory)
    _addresses(source, inventory)
    _rails(source, inventory)
    _devices(source, inventory)
    _cables(source, inventory)
    _links(source, inventory)
    _groups(source, inventory)


def check_written(source: Source) -> None:
    """What the file's own text shows before its fields are read: a half without an address.

    Raises InputError with line and field.
    """
    hosts = source.data.get("hosts")
    for name, host in hosts.items() if isinstance(hosts, dict) else ():
        rails = host.get("rails") if isinstance(host, dict) else None
        for number, rail in enumerate(rails if isinstance(rails, list) else ()):
            if isinstance(rail, dict) and rail.get("interface") and not rail.get("address"):
                raise source.error(
                    ("hosts", name, "rails", number, "address"),
                    f"{rail['interface']} has no address: each half of a port is a network "
                    "interface of its own and needs one, in a subnet of its own (older guides give "
                    "one address to a cable)",
                    f"Write one there, such as {_free(hosts, name)}, or remove the half: one of "
                    "them alone carries about half of what the port can.",
                )


def _free(hosts: Mapping[str, Any], name: str) -> str:
    """An address of the host in the first network after those of the file; every host would get
    the same network."""
    used: list[IPv4Interface] = []
    for host in hosts.values():
        lists = (host.get(kind) for kind in ("rails", "links")) if isinstance(host, dict) else ()
        for part in (part for one in lists if isinstance(one, list) for part in one):
            with contextlib.suppress(ValueError, AttributeError):
                used.append(IPv4Interface(str(part.get("address"))))
    if not used:
        return f"192.168.100.{10 + list(hosts).index(name)}/24"
    last = max(used, key=lambda one: int(one.network.broadcast_address))
    free = int(last.network.broadcast_address) + 1 + list(hosts).index(name) + 1
    return f"{IPv4Address(free % 2**32)}/{last.network.prefixlen}"


def _names(source: Source, inventory: Inventory) -> None:
    for name in inventory.hosts:
        if not HOST_NAME.fullmatch(name):
            what, remedy = _misnamed(name, list(inventory.hosts))
            raise source.error(("hosts", name), f"{name!r} is {what}", remedy)


def _misnamed(name: str, names: Sequence[str]) -> tuple[str, str]:
    """What a host's name is instead, and what to write."""
    user, at, address = name.rpartition("@")
    try:
        ip_address(address)
        first = f"spark-{names.index(name) + 1}"
        what = "an address, no host name"
    except ValueError:
        first = re.sub(r"[^A-Za-z0-9-]+", "-", address.partition(".")[0]).strip("-")
        dotted = all(HOST_NAME.fullmatch(label) for label in address.rstrip(".").split("."))
        if not dotted or ("." not in address and not at):
            better = f", such as {first}" if HOST_NAME.fullmatch(first) else ""
            return "no host name", f"Use letters, digits and '-'{better}."
        what = "where the host is reached, no host name"
    more = f" and `user: {user}`" if at else ""
    return what, (
        f"Name it {first}, here and in `groups:`, and write `address: {address}`{more} below it."
    )


def _interfaces(inventory: Inventory) -> list[tuple[str, Loc, Rail | Link]]:
    """Every interface with its host, and where it stands."""
    found: list[tuple[str, Loc, Rail | Link]] = []
    for name, host in inventory.hosts.items():
        found += [(name, ("hosts", name, "rails", n), rail) for n, rail in enumerate(host.rails)]
        found += [(name, ("hosts", name, "links", n), link) for n, link in enumerate(host.links)]
    return found


def _rails_of(inventory: Inventory) -> list[tuple[str, Loc, Rail]]:
    return [(name, at, i) for name, at, i in _interfaces(inventory) if isinstance(i, Rail)]


def _links_of(inventory: Inventory) -> list[tuple[str, Loc, Link]]:
    return [(name, at, i) for name, at, i in _interfaces(inventory) if isinstance(i, Link)]


def _addresses(source: Source, inventory: Inventory) -> None:
    seen: dict[str, str] = {}
    for name, at, item in _interfaces(inventory):
        if item.ip in seen:
            raise source.error(
                (*at, "address"),
                f"{item.ip} is also the address of {seen[item.ip]}",
                "Every interface of every host needs its own address.",
            )
        seen[item.ip] = f"{name} {item.interface}"


def _rails(source: Source, inventory: Inventory) -> None:
    """Rails of different hosts on one network must agree on it and on the MTU."""
    entries = _rails_of(inventory)
    for position, (name, at, rail) in enumerate(entries):
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
    for name, at, rail in entries:
        if not inventory.peers(name, rail):
            raise source.error(
                (*at, "address"),
                f"{rail.address} is outside its subnet: no other host has a rail in {rail.network}",
                "The two ends of a cable need addresses in one subnet, such as 192.168.100.10/24 "
                "and 192.168.100.11/24. Correct the address, or remove the rail.",
            )


def _devices(source: Source, inventory: Inventory) -> None:
    """Where both names are a Spark's own, they belong together."""
    for _, at, rail in _rails_of(inventory):
        own = DEVICES.get(rail.interface, rail.device)
        if own != rail.device and rail.device in DEVICES.values():
            raise source.error(
                (*at, "device"),
                f"{rail.device} belongs to another half; {rail.interface} has {own}",
                f"Write `device: {own}`: RDMA would leave by a half that has another address.",
            )


def _cables(source: Source, inventory: Inventory) -> None:
    """A cable has two ends: both halves of a port face the same port of the same host.

    Only where a subnet joins two hosts: on a switch a port faces many.
    """
    faced: dict[tuple[str, int], tuple[Rail, str]] = {}
    for name, at, rail in _rails_of(inventory):
        peers = inventory.peers(name, rail)
        if len(peers) != 1 or rail.interface not in HALVES:
            continue
        (peer, end), mine = peers[0], port(rail.interface)
        if end.interface not in HALVES:
            continue
        there = f"{peer}, port {port(end.interface)}"
        other, before = faced.setdefault((name, mine), (rail, there))
        if before != there:
            raise source.error(
                (*at, "address"),
                f"by its subnet {rail.interface} ({rail.address}) faces {there}, but "
                f"{other.interface} ({other.address}), the other half of port {mine}, faces "
                f"{before}",
                "A cable has two ends, and both halves of a port use it: give each half a "
                "subnet with a half of the port at the other end.",
            )


def _links(source: Source, inventory: Inventory) -> None:
    """A link shares no subnet with a rail, and links that share one agree on its size."""
    links = _links_of(inventory)
    for position, (name, place, link) in enumerate(links):
        at = (*place, "address")
        for owner, _, rail in _rails_of(inventory):
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
