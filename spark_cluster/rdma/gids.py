"""The GID tables of the RDMA devices: which index carries RoCE v2 for an IPv4 address.

The index differs between hosts and moves when an IPv6 address comes or goes, so it is looked up on
each host before each launch.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from spark_cluster.core.shell import quote

RoceVersion = Literal["v1", "v2"]

#: What sysfs shows of a slot that holds nothing.
EMPTY_GID = "0000:0000:0000:0000:0000:0000:0000:0000"


@dataclass(frozen=True)
class GidEntry:
    """A slot in use. `gid` is sysfs's text in lower case; `ipv4` is set for a mapped address.

    `roce_version` is None where the slot's type could not be read or is InfiniBand's.
    """

    index: int
    gid: str
    ipv4: str | None
    roce_version: RoceVersion | None
    netdev: str | None


@dataclass(frozen=True)
class DeviceGids:
    """A device's GIDs, by rising index. `netdev`: the interface that it belongs to, if known."""

    device: str
    present: bool
    netdev: str | None = None
    entries: tuple[GidEntry, ...] = ()


def probe_script(devices: Sequence[str], *, sys: str = "/sys") -> str:
    """Shell that prints the GID tables of `devices` (port 1), `FILE:VALUE` a line.

    Of the hundreds of slots of a table few hold something; only their attributes are read. Those
    of an empty slot cannot be read (EINVAL).
    """
    lines = []
    tables, parents = [], []
    for device in devices:
        base = f"{sys}/class/infiniband/{quote(device)}"
        lines.append(
            f"if [ -e {base} ]; then echo gid:present:{quote(device)}; "
            f"else echo gid:missing:{quote(device)}; fi"
        )
        tables.append(f"{base}/ports/1/gids/*")
        parents.append(f"{base}/parent {base}/device/net/*/ifindex")
    if devices:
        attributes = r"s|^(.*)/gids/([0-9]+):.*|\1/gid_attrs/types/\2 \1/gid_attrs/ndevs/\2|p"
        lines += [
            f"_gids=$(grep -sHvxF {EMPTY_GID} {_words(tables)} </dev/null) || :",
            "printf '%s\\n' \"$_gids\"",
            f"_gids=$(printf '%s\\n' \"$_gids\" | sed -nE {quote(attributes)})",
            "grep -sH . $_gids \\",
            f"  {_words(parents)} </dev/null || :",
        ]
    return "\n".join(lines) + "\n"


def _words(paths: Sequence[str]) -> str:
    return " \\\n  ".join(paths)


_SLOT = re.compile(
    r"/class/infiniband/([^/]+)/ports/1/(gids|gid_attrs/types|gid_attrs/ndevs)/([0-9]{1,5}):(.*)$"
)
_PARENT = re.compile(r"/class/infiniband/([^/]+)/parent:(.*)$")
_DEVICE_NET = re.compile(r"/class/infiniband/([^/]+)/device/net/([^/]+)/ifindex:")
_OWN = re.compile(r"^gid:(present|missing):(.+)$")
_GID = re.compile(r"^[0-9a-f]{4}(:[0-9a-f]{4}){7}$", re.ASCII)


def mapped_ipv4(gid: str) -> str | None:
    """The IPv4 address that `gid` maps; None for any other GID.

    >>> mapped_ipv4("0000:0000:0000:0000:0000:ffff:c0a8:640a")
    '192.168.100.10'
    """
    try:
        mapped = ipaddress.IPv6Address(gid).ipv4_mapped
    except ValueError:
        return None
    return str(mapped) if mapped else None


def _version(kind: str | None) -> RoceVersion | None:
    if kind is None:
        return None
    if kind.endswith("RoCE v2"):
        return "v2"
    return "v1" if kind.endswith("RoCE v1") else None


@dataclass
class _Table:
    present: bool
    netdev: str | None
    slots: dict[str, dict[int, str]]


def _entries(table: _Table) -> tuple[GidEntry, ...]:
    slots = table.slots
    entries = []
    for index, text in sorted(slots.get("gids", {}).items()):
        gid = text.lower()
        if not _GID.match(gid) or gid == EMPTY_GID:
            continue
        netdev = slots.get("gid_attrs/ndevs", {}).get(index)
        version = _version(slots.get("gid_attrs/types", {}).get(index))
        entries.append(GidEntry(index, gid, mapped_ipv4(gid), version, netdev))
    return tuple(entries)


def _netdev(table: _Table, entries: Iterable[GidEntry]) -> str | None:
    """From `parent` or `device/net`; failing these, the interface of the first GID that has one."""
    return table.netdev or next((entry.netdev for entry in entries if entry.netdev), None)


def parse(text: str) -> dict[str, DeviceGids]:
    """What `probe_script` printed, by device. Lines that are not understood are passed over."""
    tables: dict[str, _Table] = {}

    def table(device: str) -> _Table:
        return tables.setdefault(device, _Table(True, None, {}))

    for line in text.split("\n"):
        if own := _OWN.match(line):
            table(own[2].strip()).present = own[1] == "present"
        elif slot := _SLOT.search(line):
            value = slot[4].strip()
            if value:
                table(slot[1]).slots.setdefault(slot[2], {})[int(slot[3])] = value
        elif parent := _PARENT.search(line):
            table(parent[1]).netdev = parent[2].strip() or None
        elif net := _DEVICE_NET.search(line):
            found = table(net[1])
            found.netdev = found.netdev or net[2]
    result = {}
    for device, found in tables.items():
        entries = _entries(found)
        result[device] = DeviceGids(device, found.present, _netdev(found, entries), entries)
    return result


def find_gid(entries: Iterable[GidEntry], address: str) -> GidEntry | None:
    """The RoCE v2 entry that maps `address` (a prefix length, if there, is ignored).

    The lowest index if there are several; None if there is none.
    """
    wanted = address.partition("/")[0].strip()
    for entry in sorted(entries, key=lambda entry: entry.index):
        if entry.roce_version == "v2" and entry.ipv4 == wanted:
            return entry
    return None
