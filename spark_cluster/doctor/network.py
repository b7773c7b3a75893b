"""Addresses, MTU, owners and routes: is the network on top of the cables as the inventory says?"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface

from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import Cluster, each_host
from spark_cluster.doctor.fabric import PORTS
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.links import LINKS, PING, Link
from spark_cluster.facts.netplan import NETPLAN, devices
from spark_cluster.facts.routes import ROUTES
from spark_cluster.inventory.models import Host, Rail


def mtu(cluster: Cluster) -> Iterator[Finding]:
    """netplan's file, the kernel and the peer agree on the MTU."""
    for host, facts in cluster.hosts():
        for item in host.configured:
            if item.mtu is None:
                continue
            link = facts[LINKS].links.get(item.interface)
            # Without a carrier NetworkManager lets go of the interface, and of its MTU.
            if link is not None and link.carrier and link.mtu != item.mtu:
                ends = _peer_mtus(cluster, host, item) if isinstance(item, Rail) else ""
                yield find(
                    "NET015",
                    f"{item.interface} has MTU {link.mtu} bytes in the kernel, the inventory says "
                    f"{item.mtu}{ends}",
                    host=host.name,
                )
            for file in facts[NETPLAN].effective:
                configured = file_mtu(file.content, item.interface)
                if configured is not None and configured != item.mtu:
                    yield find(
                        "NET015",
                        f"{file.path} gives {item.interface} MTU {configured} bytes, the inventory "
                        f"says {item.mtu}: it will be wrong after the next boot",
                        repair="netplan",
                        host=host.name,
                    )


def _peer_mtus(cluster: Cluster, host: Host, rail: Rail) -> str:
    ends = [
        f"{name} has {link.mtu}"
        for name, peer in cluster.peers(host.name, rail)
        if (link := cluster.link(name, peer.interface)) is not None
    ]
    return f"; {', '.join(ends)}" if ends else ""


def file_mtu(content: str, interface: str) -> int | None:
    """The MTU that a netplan file gives to an interface."""
    value = (devices(content) or {}).get(interface, {}).get("mtu")
    return value if isinstance(value, int) else None


def addresses(host: Host, facts: Facts) -> Iterator[Finding]:
    """The kernel has the inventory's address on every interface that is linked."""
    for item in host.interfaces:
        link = facts[LINKS].links.get(item.interface)
        if link is None or not link.carrier or item.address in link.ipv4:
            continue
        there = ", ".join(link.ipv4) or "no IPv4 address"
        what = f"{item.interface} has {there}, the inventory says {item.address}"
        if item not in host.configured:
            yield find(
                "NET016",
                f"{what} and `managed: false`",
                severity=Severity.WARNING,
                fix="Correct the inventory, or reserve the address in the DHCP server.",
                repair=None,
            )
            continue
        severity = None if isinstance(item, Rail) else Severity.WARNING
        yield find("NET016", what, severity=severity)


def ipv6(host: Host, facts: Facts) -> Iterator[Finding]:
    """IPv6 is off on the rails: each of its addresses takes GID slots."""
    for rail in host.rails:
        link = facts[LINKS].links.get(rail.interface)
        if link is not None and link.ipv6:
            yield find(
                "NET017",
                f"{rail.interface} has {len(link.ipv6)} IPv6 addresses: {', '.join(link.ipv6[:4])}",
            )


def one_subnet(host: Host, facts: Facts) -> Iterator[Finding]:
    """Two halves of a host are in one subnet, as the kernel has it."""
    halves = [half for pair in PORTS.values() for half in pair]
    names = dict.fromkeys((*(rail.interface for rail in host.rails), *halves))
    links = [link for name in names if (link := facts[LINKS].links.get(name)) is not None]
    for place, link in enumerate(links):
        for other in links[:place]:
            ours = {rail.interface for rail in host.rails} >= {link.name, other.name}
            for mine, theirs in _overlaps(link, other):
                # NVIDIA's first netplan file gives link-local addresses to unused halves.
                if not ours and IPv4Interface(mine).is_link_local:
                    continue
                has_own = all(
                    rail.address in facts[LINKS].links[rail.interface].ipv4
                    for rail in host.rails
                    if rail.interface in (link.name, other.name)
                )
                yield find(
                    "NET018",
                    f"{other.name} ({theirs}) and {link.name} ({mine}) are in one subnet",
                    repair=None if has_own else "netplan",
                )


def _overlaps(link: Link, other: Link) -> Iterator[tuple[str, str]]:
    for mine in link.ipv4:
        for theirs in other.ipv4:
            try:
                one, two = IPv4Interface(mine).network, IPv4Interface(theirs).network
            except ValueError:
                continue
            if one.overlaps(two):
                yield mine, theirs


def owners(host: Host, facts: Facts) -> Iterator[Finding]:
    """Each interface has one owner: one netplan file, and no other NetworkManager connection."""
    files = facts[NETPLAN].effective
    for file in files:
        if file.interfaces is None:
            yield find("NET005", f"{file.path} is no valid netplan file")
    for item in host.configured:
        name = item.interface
        named = [file.path for file in files if file.names(name)]
        if len(named) > 1:
            yield find(
                "NET003",
                f"{name} is configured by {len(named)} files: {', '.join(named)}",
                fix=f"Decide which file owns {name}, remove it from the other, then run "
                f"`spark-cluster bootstrap`; or `spark-cluster bootstrap --take-over`.",
            )
        active = {profile.name for profile in facts[ROUTES].profiles}
        for keyfile in facts[NETPLAN].keyfiles:
            if keyfile.interface == name and keyfile.name not in active:
                yield find(
                    "NET019",
                    f"NetworkManager keeps '{keyfile.name}' for {name} in {keyfile.path}",
                    fix=_delete(keyfile.name, name, facts),
                )
        for profile in facts[ROUTES].profiles:
            if profile.device == name and not profile.of_netplan:
                yield find(
                    "NET019",
                    f"NetworkManager has '{profile.name}' active on {name}, which is not netplan's",
                    fix=_delete(profile.name, name, facts),
                )


def _delete(profile: str, interface: str, facts: Facts) -> str:
    """How to get rid of a connection of NetworkManager's, without losing the host."""
    from_here = facts[HOST].management != interface
    way = "" if from_here else f"not over SSH by way of {interface}, which it takes down: "
    return f"{way}nmcli connection delete '{profile}', then `spark-cluster bootstrap`"


def leaves_by(host: Host, facts: Facts) -> Iterator[Finding]:
    """No rail carries the default route, and the cluster is not on Wi-Fi."""
    rail_names = {rail.interface for rail in host.rails}
    for item in host.interfaces:
        name = item.interface
        nic = facts[HARDWARE].nics.get(name)
        if name.startswith("wl") or (nic is not None and nic.wifi):
            yield find(
                "NET020",
                f"the inventory has {name} for the cluster, and it is Wi-Fi",
                fix=f"Take {name} out of the inventory; use enP7s7 or the QSFP halves.",
            )
        elif name in facts[ROUTES].default_devices and item in host.configured:
            severity = None if name in rail_names else Severity.NOTE
            yield find(
                "NET020",
                f"{name} carries the default route",
                severity=severity,
                fix=f"Remove the gateway from the configuration of {name} "
                f"(`ip route show default`).",
            )


def jumbo(cluster: Cluster) -> Iterator[Finding]:
    """Frames of the full MTU reach every peer. Silent where another finding already says why."""
    for host, facts in cluster.hosts():
        pings = {(ping.interface, ping.peer): ping for ping in facts[PING].pings}
        for rail in host.rails:
            for peer_name, peer in cluster.peers(host.name, rail):
                ping = pings.get((rail.interface, peer.ip))
                if ping is None or ping.answered:
                    continue
                if _sound(facts, rail) and _sound(cluster.facts[peer_name], peer):
                    yield find(
                        "NET004",
                        f"{peer_name} ({peer.ip}) does not answer a {ping.size} byte ping from "
                        f"{rail.interface}",
                        host=host.name,
                    )


def _sound(facts: Facts, rail: Rail) -> bool:
    """The rail's own end is linked, addressed, and has its MTU."""
    link = facts[LINKS].links.get(rail.interface)
    return link is not None and link.carrier and link.mtu == rail.mtu and rail.address in link.ipv4


RULES = (mtu, jumbo, *each_host(addresses, ipv6, one_subnet, owners, leaves_by))
