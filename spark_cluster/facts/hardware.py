"""The network hardware: link speed, PCIe width and speed, firmware, and the verbs' device files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, always


@dataclass(frozen=True)
class Nic:
    """One netdev's hardware; None and "" where the kernel does not say.

    `speed` is in Mb/s, as ethtool shows it. `width` is PCIe lanes, `gts` GT/s a lane. `driver` is
    mlx5_core on a ConnectX. `wifi`: it is a wireless device.
    """

    name: str
    speed: int | None = None
    driver: str = ""
    width: int | None = None
    gts: float | None = None
    wifi: bool = False


@dataclass(frozen=True)
class HardwareFact:
    """`firmware` is by RDMA device; `verbs` are the names in /dev/infiniband."""

    nics: dict[str, Nic] = field(default_factory=dict)
    firmware: dict[str, str] = field(default_factory=dict)
    verbs: frozenset[str] = frozenset()


# One process for all files. The speed of a port without carrier cannot be read: grep -s.
_SCRIPT = """\
for _f in /dev/infiniband/*; do [ -e "$_f" ] && echo "verbs ${_f##*/}"; done
for _f in /sys/class/net/*/phy80211; do [ -e "$_f" ] && echo "wifi $_f"; done
grep -sH . /sys/class/net/*/speed /sys/class/net/*/device/uevent \\
  /sys/class/net/*/device/current_link_speed /sys/class/net/*/device/current_link_width \\
  /sys/class/infiniband/*/fw_ver
true
"""

_NET = re.compile(
    r"^/sys/class/net/([^/]+)/(?:device/)?"
    r"(speed|uevent|current_link_speed|current_link_width):(.*)$"
)
_FIRMWARE = re.compile(r"^/sys/class/infiniband/([^/]+)/fw_ver:(.*)$")
_WIFI = re.compile(r"^wifi /sys/class/net/([^/]+)/phy80211$")
_GTS = re.compile(r"^(\d{1,3}(?:\.\d{1,3})?) GT/s", re.ASCII)


def _gts(text: str) -> float | None:
    """`32.0 GT/s PCIe` -> 32.0; `Unknown` -> None."""
    found = _GTS.match(text.strip())
    return float(found[1]) if found else None


def _with(nic: Nic, key: str, value: str) -> Nic:
    match key:
        case "speed":
            return replace(nic, speed=number(value) or None)
        case "uevent":
            driver = value.strip().removeprefix("DRIVER=")
            return replace(nic, driver=driver) if driver != value.strip() else nic
        case "current_link_speed":
            return replace(nic, gts=_gts(value))
        case _:
            return replace(nic, width=number(value) or None)


def parse(text: str) -> HardwareFact:
    nics: dict[str, Nic] = {}
    firmware: dict[str, str] = {}
    verbs: set[str] = set()
    for line in text.split("\n"):
        if found := _NET.match(line):
            nics[found[1]] = _with(nics.get(found[1], Nic(found[1])), found[2], found[3])
        elif found := _FIRMWARE.match(line):
            firmware[found[1]] = found[2].strip()
        elif found := _WIFI.match(line):
            nics[found[1]] = replace(nics.get(found[1], Nic(found[1])), wifi=True)
        elif line.startswith("verbs "):
            verbs.add(line.removeprefix("verbs ").strip())
    return HardwareFact(nics, firmware, frozenset(verbs))


HARDWARE = Fact("hardware", always(_SCRIPT), parse)
