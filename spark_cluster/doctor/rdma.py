"""RDMA devices, GIDs, device files and error counters."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import each_host
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.links import LINKS
from spark_cluster.facts.rdma import ACCESS, COUNTERS, GIDS
from spark_cluster.inventory.models import Host, Rail
from spark_cluster.rdma import counter_names
from spark_cluster.rdma.gids import DeviceGids, find_gid

#: These also grow when a peer reboots or a cable is plugged: told, not alarmed.
_LINK_EVENTS = ("link_downed", "link_error_recovery")


def devices(host: Host, facts: Facts) -> Iterator[Finding]:
    """Each rail's device is there, is its own, is ACTIVE, and has the GID. What the link's own
    state explains is left to fabric.py and network.py."""
    for rail in host.rails:
        if rail.interface not in facts[LINKS].links:
            continue
        gids = facts[GIDS].get(rail.device)
        if gids is None or not gids.present:
            yield find(
                "RDMA001", f"{rail.interface} is there and its RDMA device {rail.device} is not"
            )
        else:
            yield from _device(facts, rail, gids)


def _device(facts: Facts, rail: Rail, gids: DeviceGids) -> Iterator[Finding]:
    if gids.netdev is not None and gids.netdev != rail.interface:
        yield find(
            "RDMA004",
            f"{rail.device} belongs to {gids.netdev}, the inventory says {rail.interface}",
        )
        return
    link = facts[LINKS].links[rail.interface]
    state = facts[ACCESS].states.get(rail.device, "unknown")
    if link.carrier and state != "ACTIVE":
        yield find("RDMA002", f"{rail.device} port 1 is {state}, not ACTIVE")
        return
    if not link.carrier:
        return  # NET002 says it: the address goes with the carrier, and the GID with the address
    if rail.address not in link.ipv4 or find_gid(gids.entries, rail.ip) is not None:
        return
    others = [entry for entry in gids.entries if entry.roce_version == "v2" and entry.ipv4]
    if others:
        there = ", ".join(f"{entry.ipv4} at index {entry.index}" for entry in others)
        what = f"{rail.device} has RoCE v2 GIDs for {there}, none for {rail.ip}"
        yield find("RDMA005", what)
    else:
        count = len(gids.entries)
        what = f"{rail.device} has {count} GIDs and no RoCE v2 GID for an IPv4 address ({rail.ip})"
        yield find("RDMA003", what)


def files(host: Host, facts: Facts) -> Iterator[Finding]:
    """What user space opens."""
    if not host.rails:
        return
    verbs = facts[HARDWARE].verbs
    there = any(gids.present for gids in facts[GIDS].values())
    if there and not any(name.startswith("uverbs") for name in verbs):
        yield find("RDMA007", "/dev/infiniband has no uverbs file", fix="modprobe ib_uverbs")
    if not facts[ACCESS].cm:
        yield find("RDMA006", "/dev/infiniband/rdma_cm is not there", fix="modprobe rdma_ucm")


def counters(host: Host, facts: Facts) -> Iterator[Finding]:
    """Counters of lost packets and broken connections, since boot or since the driver loaded."""
    reading = facts[COUNTERS]
    for rail in host.rails:
        device = reading.devices.get(rail.device)
        for name, value in sorted(device.errors.items()) if device else ():
            if not value or counter_names.severity(name) is not counter_names.Growth.FAIL:
                continue
            hours = f" in {reading.uptime / 3600:.1f} h" if reading.uptime else ""
            yield find(
                "RDMA008",
                f"{rail.device} {name} is {value} since boot{hours}: {counter_names.meaning(name)}",
                severity=Severity.NOTE if name in _LINK_EVENTS else None,
            )


RULES = each_host(devices, files, counters)
