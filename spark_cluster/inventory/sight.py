"""What one node tells of itself and of what it sees, as `init` asks it. Pure.

A `Sight` is what a node told in one exec; a `Glimpse` is something of another node that it saw on
one of its interfaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

#: The halves of QSFP port 0, then those of port 1, with their RDMA devices.
DEVICES = {
    "enp1s0f0np0": "rocep1s0f0",
    "enP2p1s0f0np0": "roceP2p1s0f0",
    "enp1s0f1np1": "rocep1s0f1",
    "enP2p1s0f1np1": "roceP2p1s0f1",
}
HALVES = tuple(DEVICES)
ETHERNET = "enP7s7"
INTERFACES = (*HALVES, ETHERNET, "wlP9s9")


def half(interface: str) -> int:
    """0 for the halves on PCI domain 0, 1 for those on domain 2."""
    return HALVES.index(interface) % 2


def port(interface: str) -> int:
    return HALVES.index(interface) // 2


def other_half(interface: str) -> str:
    return HALVES[HALVES.index(interface) ^ 1]


@dataclass(frozen=True)
class Port:
    """An interface. `ipv4` are `address/prefix`; `dynamic` are those that DHCP gave."""

    name: str
    mac: str = ""
    carrier: bool = False
    up: bool = False
    ipv4: tuple[str, ...] = ()
    ipv6: tuple[str, ...] = ()
    ipv6_off: bool = False
    dynamic: tuple[str, ...] = ()
    device: str = ""


@dataclass(frozen=True)
class Glimpse:
    """Something seen on `interface`: a MAC, an IPv6 address, or `host/interface` (LLDP)."""

    interface: str
    who: str
    how: str


@dataclass(frozen=True)
class Sight:
    """One node. `management` is what SSH came in on, `uplink` what the default route uses.

    `networks` is everything that is routed or configured there.
    """

    hostname: str = ""
    management: str = ""
    uplink: str = ""
    ports: Mapping[str, Port] = field(default_factory=dict)
    glimpses: tuple[Glimpse, ...] = ()
    networks: tuple[IPv4Network, ...] = ()


def parse(text: str) -> Sight:
    """The output of runner/discover.py's script; lines that cannot be read are passed over."""
    words: dict[str, str] = {}
    ports: dict[str, Port] = {}
    devices: dict[str, str] = {}
    off: set[str] = set()
    glimpses: list[Glimpse] = []
    addresses: Any = []
    routes: Any = []
    for line in text.split("\n"):
        key, _, rest = line.strip().partition(" ")
        parts = rest.split()
        if key in ("hostname", "management") and parts:
            words[key] = parts[0]
        elif key == "port" and len(parts) >= 3:
            name, mac, carrier = parts[:3]
            ports[name] = Port(name, mac.lower(), carrier == "1")
        elif key == "ipv6-off" and parts[1:] == ["1"]:
            off.add(parts[0])
        elif key == "device" and len(parts) == 2:
            devices[parts[1]] = parts[0]
        elif key == "frame" and len(parts) == 2:
            glimpses.append(Glimpse(parts[0], parts[1].lower(), "frames"))
        elif key == "answer" and len(parts) == 2:
            glimpses.append(Glimpse(parts[0], _bare(parts[1]), "IPv6 neighbours"))
        elif key == "neighbours" and parts:
            glimpses += _neighbours(parts[0], _json(rest.partition(" ")[2]))
        elif key == "lldp":
            glimpses += _lldp(_json(rest))
        elif key == "addresses":
            addresses = _json(rest)
        elif key == "routes":
            routes = _json(rest)
    known = _with_addresses(ports, devices, off, addresses)
    uplink = next((str(route.get("dev", "")) for route in _dicts(routes)
                   if route.get("dst") == "default"), "")  # fmt: skip
    return Sight(
        words.get("hostname", ""),
        words.get("management", ""),
        uplink,
        known,
        tuple(dict.fromkeys(glimpses)),
        _networks(addresses, routes),
    )


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _bare(address: str) -> str:
    """`fe80::1%enp1s0f1np1:` -> `fe80::1`."""
    return address.partition("%")[0].rstrip(":" if "%" not in address else "").lower()


def _neighbours(interface: str, entries: Any) -> list[Glimpse]:
    """`ip -j neigh show dev IF`, which need not name the device (iproute2 6.1.0 does not)."""
    found = []
    for entry in _dicts(entries):
        mac, address = entry.get("lladdr"), str(entry.get("dst", ""))
        state = entry.get("state")
        if isinstance(mac, str) and "FAILED" not in (state if isinstance(state, list) else []):
            how = "IPv6 neighbours" if ":" in address else "IPv4 neighbours"
            found.append(Glimpse(interface, mac.lower(), how))
    return found


def _lldp(data: Any) -> list[Glimpse]:
    """`lldpctl -f json`: one interface is an object, several are a list of objects."""
    top = data.get("lldp") if isinstance(data, dict) else None
    listed = top.get("interface") if isinstance(top, dict) else None
    found = []
    for item in [listed] if isinstance(listed, dict) else _dicts(listed):
        for interface, what in item.items():
            port = what.get("port") if isinstance(what, dict) else None
            ident = port.get("id") if isinstance(port, dict) else None
            value = str(ident.get("value", "")) if isinstance(ident, dict) else ""
            chassis = what.get("chassis") if isinstance(what, dict) else None
            name = next(iter(chassis), "") if isinstance(chassis, dict) else ""
            if value:
                who = value.lower() if ":" in value else f"{name.partition('.')[0]}/{value}"
                found.append(Glimpse(interface, who, "LLDP"))
    return found


def _with_addresses(
    ports: Mapping[str, Port], devices: Mapping[str, str], off: set[str], addresses: Any
) -> dict[str, Port]:
    infos: dict[str, list[dict[str, Any]]] = {
        str(entry.get("ifname")): _dicts(entry.get("addr_info")) for entry in _dicts(addresses)
    }
    flags = {str(entry.get("ifname")): entry.get("flags") for entry in _dicts(addresses)}
    known = {}
    for name, there in ports.items():
        mine = infos.get(name, [])
        ipv4 = [info for info in mine if info.get("family") == "inet" and _interface(info)]
        known[name] = Port(
            name,
            there.mac,
            there.carrier,
            "UP" in (flags.get(name) or ()),
            ipv4=tuple(str(_interface(info)) for info in ipv4),
            ipv6=tuple(str(i.get("local")).lower() for i in mine if i.get("family") == "inet6"),
            ipv6_off=name in off,
            dynamic=tuple(str(_interface(info)) for info in ipv4 if info.get("dynamic")),
            device=devices.get(name, ""),
        )
    return known


def _interface(info: Mapping[str, Any]) -> IPv4Interface | None:
    try:
        return IPv4Interface(f"{info.get('local')}/{info.get('prefixlen')}")
    except ValueError:
        return None


def _networks(addresses: Any, routes: Any) -> tuple[IPv4Network, ...]:
    found: list[IPv4Network] = []
    for entry in _dicts(addresses):
        given = [_interface(info) for info in _dicts(entry.get("addr_info"))]
        found += [interface.network for interface in given if interface is not None]
    for route in _dicts(routes):
        try:
            found.append(IPv4Network(str(route.get("dst")), strict=False))
        except ValueError:
            continue
    return tuple(dict.fromkeys(network for network in found if network.prefixlen > 0))
