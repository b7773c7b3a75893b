"""What NCCL would do: device lists, GID selection, the choice of a network. Pure.

Sources: NCCL 2.28 src/transport/net_ib (ncclIbInitDevices, ncclUpdateGidIndex),
src/misc/utils.cc (parseStringList, matchIfList), src/misc/param.cc (ncclLoadParam).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Env = Mapping[str, str]

VERSION = "2.28.9+cuda13.0"
MAX_IFS = 32


class Gid(NamedTuple):
    """One slot of a port's GID table, as sysfs shows it."""

    slot: int
    gid: str
    type: str
    ndev: str = ""


class Port(NamedTuple):
    """One port of an RDMA device."""

    device: str
    port: int
    active: bool
    link_layer: str
    usable: bool
    """The container has the device's character file (/dev/infiniband/uverbsN)."""
    gids: tuple[Gid, ...] = ()


class Interface(NamedTuple):
    """A network interface that is up and has an IPv4 address."""

    name: str
    address: str


class Decision(NamedTuple):
    """The network that the ranks will use, or the error that ends the job."""

    net: str
    hcas: tuple[Port, ...] = ()
    error: str = ""


def param(env: Env, name: str, default: int) -> int:
    """NCCL's integer variables: empty means unset, and text that is no number reads as 0."""
    text = env.get(name, "")
    if not text:
        return default
    digits = ""
    for char in text.strip():
        if char.isdigit() or (char in "+-" and not digits):
            digits += char
        else:
            break
    return int(digits) if digits.strip("+-") else 0


class NameList(NamedTuple):
    """A parsed NCCL_IB_HCA or NCCL_SOCKET_IFNAME: `[^][=]name[:port],…`."""

    exclude: bool
    exact: bool
    entries: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, text: str) -> NameList:
        """Parse as NCCL does: `^` before `=`; a missing port matches every port."""
        exclude = text.startswith("^")
        text = text[1:] if exclude else text
        exact = text.startswith("=")
        text = text[1:] if exact else text
        entries = []
        for item in text.split(",")[:MAX_IFS]:
            name, _, port = item.partition(":")
            if name:
                entries.append((name, param({"": port}, "", -1)))
        return cls(exclude, exact, tuple(entries))

    def matches(self, name: str, port: int = -1) -> bool:
        """Does the list select this device? An empty list selects everything."""
        if not self.entries:
            return not self.exclude
        found = any(
            (name == wanted if self.exact else name.startswith(wanted))
            and (port == -1 or wanted_port in (-1, port))
            for wanted, wanted_port in self.entries
        )
        return found != self.exclude


def select_hcas(ports: Sequence[Port], env: Env) -> tuple[Port, ...]:
    """The ports that `NET/IB : Using` would name."""
    if param(env, "NCCL_IB_DISABLE", 0):
        return ()
    wanted = NameList.parse(env.get("NCCL_IB_HCA", ""))
    return tuple(
        port
        for port in ports
        if port.usable
        and port.active
        and port.link_layer in ("Ethernet", "InfiniBand")
        and wanted.matches(port.device, port.port)
    )


def select_interfaces(interfaces: Sequence[Interface], env: Env) -> list[Interface]:
    """The socket interfaces, in NCCL's order of preference."""
    text = env.get("NCCL_SOCKET_IFNAME", "")
    if text:
        wanted = NameList.parse(text)
        return [item for item in interfaces if wanted.matches(item.name)]
    for rule in ("ib", "^docker,lo", "docker", "lo"):
        chosen = [item for item in interfaces if NameList.parse(rule).matches(item.name)]
        if chosen:
            return chosen
    return []


def decide(hcas: Sequence[Port], env: Env) -> Decision:
    """IB if a device is usable; else sockets, silently, unless NCCL_NET forbids it."""
    wanted = env.get("NCCL_NET", "").lower()
    if wanted not in ("", "ib", "socket"):
        return Decision("", error="Failed to initialize any NET plugin")
    if wanted == "socket":
        return Decision("Socket")
    if hcas:
        return Decision("IB", tuple(hcas))
    if wanted == "ib":
        return Decision("", error="Failed to initialize any NET plugin")
    return Decision("Socket")


def _words(gid: str) -> list[int]:
    parts = [int(part or "0", 16) for part in gid.split(":")]
    if len(parts) != 8:
        return [0, 0, 0, 0]
    return [(parts[i] << 16) | parts[i + 1] for i in range(0, 8, 2)]


def _is_ipv4(gid: str) -> bool:
    a, b, c, _ = _words(gid)
    mapped = a == 0 and b == 0 and c == 0xFFFF
    return mapped or (a == 0xFF0E0000 and b == 0 and c == 0xFFFF)


def _valid(gid: str) -> bool:
    a, b, c, d = _words(gid)
    configured = any((a, b, c, d)) and not (a == 0xFE800000 and not (b or c or d))
    return configured and not (a == 0xFE800000 and b == 0)


def _bits(gid: str, ipv4: bool) -> tuple[int, int]:
    a, b, c, d = _words(gid)
    return (d, 32) if ipv4 else ((a << 96) | (b << 64) | (c << 32) | d, 128)


def _in_range(gid: str, ipv4: bool, text: str) -> bool:
    if not text:
        return True
    from ipaddress import ip_network

    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return True
    if (network.version == 4) != ipv4:
        return True
    value, width = _bits(gid, ipv4)
    shift = width - network.prefixlen
    return value >> shift == int(network.network_address) >> shift


def _roce_version(kind: str) -> int:
    return {"RoCE v2": 2, "IB/RoCE v1": 1, "RoCE v1": 1}.get(kind, -1)


def select_gid(gids: Sequence[Gid], env: Env) -> int:
    """The GID index for a RoCE port: pinned, or chosen by version, family and range."""
    pinned = param(env, "NCCL_IB_GID_INDEX", -1)
    if pinned >= 0:
        return pinned
    version = param(env, "NCCL_IB_ROCE_VERSION_NUM", 2)
    ipv4 = env.get("NCCL_IB_ADDR_FAMILY", "AF_INET").upper() != "AF_INET6"
    text = env.get("NCCL_IB_ADDR_RANGE", "")
    table = {gid.slot: gid for gid in gids}
    empty = Gid(-1, "0000:0000:0000:0000:0000:0000:0000:0000", "")
    best = 0
    for index in range(1, max(table, default=0) + 1):
        current, candidate = table.get(best, empty), table.get(index, empty)
        right = _is_ipv4(candidate.gid) == ipv4 and _in_range(candidate.gid, ipv4, text)
        if not right:
            continue
        if _is_ipv4(current.gid) != ipv4:
            best = index
            continue
        if not _valid(candidate.gid):
            continue
        have, offered = _roce_version(current.type), _roce_version(candidate.type)
        if (have != offered or not _valid(current.gid)) and offered == version:
            best = index
    return best
