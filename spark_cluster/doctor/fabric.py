"""Cables, ports and PCIe: is the hardware there, linked, and as fast as it should be?"""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import each_host
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.kernel_log import KERNEL_LOG
from spark_cluster.facts.links import LINKS
from spark_cluster.inventory.models import Host, Rail

#: The two halves of each QSFP port of a DGX Spark. Port 1 goes to port 1.
PORTS = {
    0: ("enp1s0f0np0", "enP2p1s0f0np0"),
    1: ("enp1s0f1np1", "enP2p1s0f1np1"),
}

#: What ethtool shows of a linked half: each half reports the port's full 200 Gb/s, in Mb/s.
LINK_SPEED = 200_000

#: A half is PCIe Gen5 x4: 32 GT/s a lane (PCI Express Base 5.0), four lanes, about 126 Gb/s.
PCIE_WIDTH = 4
PCIE_GTS = 32.0

#: The kernel's driver of a ConnectX: only its numbers are judged.
CONNECTX = "mlx5_core"


def port_of(interface: str) -> int | None:
    """The QSFP port of a half; None for any other interface."""
    return next((port for port, halves in PORTS.items() if interface in halves), None)


def rails(host: Host, facts: Facts) -> Iterator[Finding]:
    """The halves that the inventory names."""
    told: set[int] = set()
    for rail in host.rails:
        for finding in _rail(host, facts, rail):
            port = port_of(rail.interface)
            if finding.code == "NET011" and port is not None:
                if port in told:
                    continue
                told.add(port)
            yield finding


def _rail(host: Host, facts: Facts, rail: Rail) -> Iterator[Finding]:
    links = facts[LINKS].links
    if not links:
        return
    name = rail.interface
    link = links.get(name)
    if link is not None and link.carrier:
        return
    if link is not None and not link.up:
        yield _switched_off(name)
        return
    elsewhere = _other_port(host, facts, name)
    state = "is not there" if link is None else "has no carrier"
    if elsewhere:
        yield find(
            "NET011", f"{name} {state}, and {', '.join(elsewhere)} of the other port has carrier"
        )
    elif link is not None:
        yield find("NET002", f"{name} is up and has no carrier")
    elif twin := _twin(facts, name):
        yield find("NET012", f"{name} is not there, its other half {twin} is")
    else:
        gone = rail.device not in facts[HARDWARE].firmware
        also = f", nor is its RDMA device {rail.device}: removed, or never there" if gone else ""
        yield find("NET001", f"{name} is not there{also}{_removed(facts)}")


def _removed(facts: Facts) -> str:
    """What the kernel says of the cable last, if that is its removal."""
    gone, back = (facts[KERNEL_LOG].said.get(kind) for kind in ("removal", "plugin"))
    if gone is None or gone.at is None or (back is not None and (back.at or 0.0) > gone.at):
        return ""
    return f"; the kernel's log ends with {gone.line}"


def _switched_off(name: str) -> Finding:
    return find("NET010", f"{name} is switched off (no UP flag)", fix=f"ip link set dev {name} up")


def _other_port(host: Host, facts: Facts, name: str) -> list[str]:
    """Halves of the other port that have carrier though the inventory does not name them."""
    port = port_of(name)
    if port is None:
        return []
    managed = {item.interface for item in host.interfaces}
    links = facts[LINKS].links
    return [
        half
        for other, halves in PORTS.items()
        if other != port
        for half in halves
        if half in links and links[half].carrier and half not in managed
    ]


def _twin(facts: Facts, name: str) -> str:
    """The other half of the same port, if it is there."""
    port = port_of(name)
    halves = PORTS[port] if port is not None else ()
    return next((half for half in halves if half != name and half in facts[LINKS].links), "")


def other_links(host: Host, facts: Facts) -> Iterator[Finding]:
    """The 10GbE port and what else the inventory manages."""
    links = facts[LINKS].links
    for item in host.links if links else ():
        link = links.get(item.interface)
        if link is None:
            yield find("NET001", f"{item.interface} is not there")
        elif not link.up:
            yield _switched_off(item.interface)
        elif not link.carrier:
            yield find("NET002", f"{item.interface} is up and has no carrier")


def speed(host: Host, facts: Facts) -> Iterator[Finding]:
    """A ConnectX half that linked slower than the cable can."""
    for rail in host.rails:
        nic = facts[HARDWARE].nics.get(rail.interface)
        link = facts[LINKS].links.get(rail.interface)
        if nic is None or link is None or not link.carrier or nic.driver != CONNECTX:
            continue
        if nic.speed is None:
            what = f"{rail.interface} has carrier and tells no speed"
            yield find("NET013", what, severity=Severity.NOTE)
        elif nic.speed < LINK_SPEED:
            yield find(
                "NET013", f"{rail.interface} linked at {nic.speed} Mb/s, expected {LINK_SPEED} Mb/s"
            )


def pcie(host: Host, facts: Facts) -> Iterator[Finding]:
    """A half whose PCIe link is narrower or slower than Gen5 x4."""
    for rail in host.rails:
        nic = facts[HARDWARE].nics.get(rail.interface)
        if nic is None or nic.driver != CONNECTX:
            continue
        narrow = nic.width is not None and nic.width < PCIE_WIDTH
        slow = nic.gts is not None and nic.gts < PCIE_GTS
        if narrow or slow:
            width = f"x{nic.width}" if nic.width else "unknown width"
            gts = f"{nic.gts:g} GT/s" if nic.gts else "unknown speed"
            yield find(
                "NET014",
                f"{rail.interface} runs at PCIe {width}, {gts}; "
                f"expected x{PCIE_WIDTH}, {PCIE_GTS:g} GT/s",
            )


RULES = each_host(rails, other_links, speed, pcie)
