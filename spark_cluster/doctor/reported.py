"""Faults that owners of Sparks report of firmware, kernels, drivers and settings.

What is read here is sure; what follows from it is a report, and how sure that is,
core/diagnoses.yaml says of each code. What could not be read is not told.
"""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.core.units import count, human_age, human_bytes
from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import each_host
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.clock import CLOCK
from spark_cluster.facts.connectx import CONNECTX, MARKER, Hotplug
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.kernel_log import KERNEL_LOG, Said
from spark_cluster.facts.limits import LIMITS
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.inventory.models import Host

#: The ConnectX firmware of which NICs that vanish are reported.
FIRMWARE = "28.45.4028"

#: The branch of drivers of which a deadlock at graph capture is reported.
DRIVER = "590."

#: Open files that an engine gets from its usual launchers; below the least, loading has failed.
OPEN_FILES, _LEAST_FILES = 1_048_576, 65_536

#: PCIe errors so long ago are no longer called growing, in seconds.
_GROWING = 3600.0


def cma(_: Host, facts: Facts) -> Iterator[Finding]:
    """More contiguous memory free than there is: the kernel has given it away twice."""
    memory = facts[MEMORY]
    total, free = memory.cma_total, memory.cma_free
    if total is not None and free is not None and free > total:
        yield find(
            "HOST024",
            f"CmaTotal is {human_bytes(total)} and CmaFree {human_bytes(free)} (kernel "
            f"{facts[HOST].kernel or 'unknown'})",
        )


def pcie_errors(_: Host, facts: Facts) -> Iterator[Finding]:
    counted = [
        f"{address} has {count(errors.uncorrectable, 'error')} ({errors.fatal} fatal)"
        for address, errors in sorted(facts[CONNECTX].errors.items())
        if errors.uncorrectable
    ]
    said = facts[KERNEL_LOG].said.get("aer")
    if not counted and said is None:
        return
    told = ", ".join(counted) or "its counters are at zero: it was reset since"
    ago = _ago(facts, said)
    when = ""
    if said is not None:
        age = f", the last {human_age(ago)} ago" if ago is not None else ""
        when = f"; the kernel's log has {count(said.count, 'line')}{age}: {said.line[:160]}"
    recent = ago is not None and ago < _GROWING
    yield find(
        "NET025",
        f"uncorrectable PCIe errors at the ConnectX: {told}{when}",
        severity=Severity.CRITICAL if recent else None,
    )


def _ago(facts: Facts, said: Said | None) -> float | None:
    """Seconds between the line and the probe's end; None if either time is unknown."""
    now = facts[CLOCK].uptime
    if said is None or said.at is None or not now:
        return None
    return max(0.0, now - said.at)


def readded(_: Host, facts: Facts) -> Iterator[Finding]:
    """A ConnectX that came back to the bus while the host ran."""
    said = facts[KERNEL_LOG].said.get("readded")
    if said is None:
        return
    ago = _ago(facts, said)
    when = f" {human_age(ago)} ago" if ago is not None else " since boot"
    yield find(
        "NET026",
        f"the ConnectX came back to the PCIe bus{when}, without the slot's power: {said.line}; "
        f"{_state(facts[CONNECTX].hotplug)}",
    )


def hotplug(host: Host, facts: Facts) -> Iterator[Finding]:
    found = facts[CONNECTX].hotplug
    if host.rails and (found.armed or (found.armed is None and found.marker)):
        removed = facts[KERNEL_LOG].count("removal")
        times = f"; it took the ConnectX away {count(removed, 'time')} since boot"
        yield find("NET027", _state(found) + (times if removed else ""))


def _state(found: Hotplug) -> str:
    """`hotplug is armed, and will be at the next boot; the ConnectX has power`."""
    if found.armed is None:
        now = "the kernel does not tell whether hotplug is armed"
    else:
        now = "hotplug is armed" if found.armed else "hotplug is not armed"
    after = {True: f"{MARKER} is there", False: f"{MARKER} is not there", None: ""}[found.marker]
    power = {True: "the ConnectX has power", False: "the ConnectX has no power", None: ""}
    return "; ".join(part for part in (now, after, power[found.powered]) if part)


def firmware(host: Host, facts: Facts) -> Iterator[Finding]:
    named = [r.device for r in host.rails if facts[HARDWARE].firmware.get(r.device) == FIRMWARE]
    if named:
        yield find("RDMA037", f"{', '.join(named)} runs firmware {FIRMWARE}")


def driver(_: Host, facts: Facts) -> Iterator[Finding]:
    if facts[GPU].driver.startswith(DRIVER):
        yield find("GPU005", f"the NVIDIA driver is {facts[GPU].driver}")


def driver_memory(_: Host, facts: Facts) -> Iterator[Finding]:
    said = facts[KERNEL_LOG].said.get("nvrm")
    if said is not None:
        yield find(
            "GPU006",
            f"the NVIDIA driver has logged NV_ERR_NO_MEMORY {count(said.count, 'time')} since "
            f"boot; {human_bytes(facts[MEMORY].available)} of memory are available",
        )


def open_files(_: Host, facts: Facts) -> Iterator[Finding]:
    files = facts[LIMITS].open_files
    if files is not None and files < _LEAST_FILES:
        yield find(
            "HOST025",
            f"a container that asks for no limit may open {files} files; `spark-cluster "
            f"launch` asks for {OPEN_FILES}",
        )


def swappiness(_: Host, facts: Facts) -> Iterator[Finding]:
    if facts[LIMITS].swappiness == 0:
        swap = facts[SWAP]
        off = swap.read and not swap.active
        yield find(
            "HOST026",
            "vm.swappiness is 0" + ("; swap is off, so it does nothing now" if off else ""),
            severity=Severity.NOTE if off else None,
        )


RULES = each_host(
    cma, pcie_errors, readded, hotplug, firmware, driver, driver_memory, open_files, swappiness
)
