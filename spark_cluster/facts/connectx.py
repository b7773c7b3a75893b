"""The ConnectX on its PCIe bus: errors that were counted there, and the hotplug that may take it
off the bus when its cable goes.

Sources: Documentation/ABI/testing/sysfs-bus-pci-devices-aer in the kernel; for the hotplug NVIDIA's
kernel for the GB10 (NV-Kernels pull requests 228 and 271).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, always

#: While it is there, the hotplug is armed at each boot.
MARKER = "/etc/nvidia/cx7-hotplug-enabled"

_HOTPLUG = "/sys/devices/platform/MTKP0001:00/pcie_hotplug"


@dataclass(frozen=True)
class AerCounts:
    """Errors of one PCI function since it was added: PCI Express's three severities."""

    fatal: int = 0
    nonfatal: int = 0
    correctable: int = 0

    @property
    def uncorrectable(self) -> int:
        return self.fatal + self.nonfatal


@dataclass(frozen=True)
class Hotplug:
    """`there`: the kernel has it. `armed`: it acts when a cable goes or comes; `marker`: it will be
    armed at the next boot. `powered`: the ConnectX is on the bus. None is unknown."""

    there: bool = False
    marker: bool | None = None
    armed: bool | None = None
    powered: bool | None = None


@dataclass(frozen=True)
class ConnectxFact:
    """`errors` by PCI address, of the RDMA devices' functions and of the ports above them."""

    errors: dict[str, AerCounts] = field(default_factory=dict)
    hotplug: Hotplug = field(default_factory=Hotplug)


# A soft device has no PCI device, and is passed over.
_SCRIPT = f"""\
[ -e {MARKER} ] && echo marker=1 || echo marker=0
grep -sH . {_HOTPLUG}/hotplug_enabled {_HOTPLUG}/debug_state
_at=
for _d in /sys/class/infiniband/*/device; do
  _p=$(cd -P "$_d" 2>/dev/null && pwd) || continue
  _at="$_at $_p/aer_dev_* ${{_p%/*}}/aer_dev_*"
done
[ -z "$_at" ] || grep -sH '^TOTAL' $_at
true
"""

_AER = re.compile(
    r"/([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])/aer_dev_(fatal|nonfatal|correctable):"
    r"TOTAL_ERR_\w{1,16} (\d{1,20})$",
    re.ASCII,
)
_STATE = re.compile(rf"^{_HOTPLUG}/(hotplug_enabled|debug_state):\s*([01])\s*$", re.ASCII)


def parse(text: str) -> ConnectxFact:
    errors: dict[str, AerCounts] = {}
    hotplug = Hotplug()
    for line in text.split("\n"):
        if found := _AER.search(line):
            before = errors.get(found[1], AerCounts())
            errors[found[1]] = replace(before, **{found[2]: number(found[3]) or 0})
        elif found := _STATE.match(line):
            name = "armed" if found[1] == "hotplug_enabled" else "powered"
            hotplug = replace(hotplug, there=True, **{name: found[2] == "1"})
        elif line in ("marker=0", "marker=1"):
            hotplug = replace(hotplug, marker=line == "marker=1")
    return ConnectxFact(errors, hotplug)


CONNECTX = Fact("connectx", always(_SCRIPT), parse)
