"""Packet filters: do they let the rails talk, reach the ports, and forward where hosts route?"""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import Cluster, each_host
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.doctor.packets import Packet, verdict
from spark_cluster.facts.base import Facts
from spark_cluster.facts.firewall import FIREWALL
from spark_cluster.facts.host import HOST
from spark_cluster.facts.routes import ROUTES
from spark_cluster.inventory.models import Host, Rail

#: Ray's head and dashboard, the API, RoCE v2 (IANA: roce, 4791/udp).
RAY, DASHBOARD, API, ROCE = 6379, 8265, 8000, 4791

#: Ports in Linux's ephemeral range (ip_local_port_range, 32768 to 60999), where NCCL, Gloo and
#: Ray's workers listen: a rail that drops these carries no job.
_EPHEMERAL = 40000


def rails(cluster: Cluster) -> Iterator[Finding]:
    """The peers' packets on each rail."""
    for host, facts in cluster.hosts():
        for rail in host.rails:
            peer = next((peer for _, peer in cluster.inventory.peers(host.name, rail)), None)
            if peer is not None:
                yield from _rail(host.name, facts, rail, peer)


def _rail(host: str, facts: Facts, rail: Rail, peer: Rail) -> Iterator[Finding]:
    def ask(proto: str, port: int) -> str | None:
        packet = Packet(rail.interface, proto, port, peer.ip, rail.ip)
        outcome = verdict(facts[FIREWALL], "input", packet)
        return outcome.why if outcome.kind == "drop" else None

    why = ask("tcp", _EPHEMERAL)
    if why is not None:
        yield find(
            "NET023",
            f"TCP from {peer.ip} on {rail.interface} is dropped: {why}",
            fix=f"Allow what comes from the rails, such as `iptables -I INPUT -i {rail.interface} "
            f"-j ACCEPT`, or remove the rule where it is defined.",
            host=host,
        )
        return
    for proto, port, who, severity in (
        ("tcp", RAY, "Ray's head", Severity.CRITICAL),
        ("tcp", DASHBOARD, "Ray's dashboard", Severity.WARNING),
        # A ConnectX handles RoCE's packets itself; only soft-RoCE's and rdma_cm's pass the filter.
        ("udp", ROCE, "RoCE v2", Severity.WARNING),
    ):
        why = ask(proto, port)
        if why is not None:
            yield find(
                "NET022",
                f"{port}/{proto} ({who}) from {peer.ip} on {rail.interface} is dropped: {why}",
                severity=severity,
                host=host,
            )


def api(host: Host, facts: Facts) -> Iterator[Finding]:
    """Clients reach the API port on the interface that SSH came in on. Closing it can be meant."""
    management = facts[HOST].management
    if not management or not host.rails:
        return
    # 192.0.2.0/24 is nobody's (RFC 5737): any client, any address of the host.
    packet = Packet(management, "tcp", API, "192.0.2.1", "192.0.2.2")
    outcome = verdict(facts[FIREWALL], "input", packet)
    if outcome.kind == "drop":
        yield find(
            "NET022",
            f"{API}/tcp (the API) on {management} is dropped: {outcome.why}",
            severity=Severity.NOTE,
        )


def forward(cluster: Cluster) -> Iterator[Finding]:
    """A host that routes for others must forward. Docker's DROP harms nobody elsewhere."""
    for host, facts in cluster.hosts():
        pairs = list(_routed(cluster, host))
        dropped = None
        for first, second in pairs:
            packet = Packet(
                first.interface, "tcp", _EPHEMERAL, first.ip, second.ip, oif=second.interface
            )
            outcome = verdict(facts[FIREWALL], "forward", packet)
            if outcome.kind == "drop":
                dropped = f"{first.interface} to {second.interface}: {outcome.why}"
        if dropped:
            yield find("NET021", f"this host routes, and drops {dropped}", host=host.name)
        elif not pairs and facts[ROUTES].forwarding and _policy_drop(facts):
            yield find(
                "NET021",
                "the FORWARD policy is DROP (Docker sets it); by the inventory nothing is routed "
                "through this host",
                severity=Severity.NOTE,
                host=host.name,
            )


def _policy_drop(facts: Facts) -> bool:
    return any(chain.policy == "drop" for _, chain in facts[FIREWALL].hooked("forward"))


def _routed(cluster: Cluster, host: Host) -> Iterator[tuple[Rail, Rail]]:
    """Pairs of rails between which this host must route: its peers there share no subnet, or
    another host has a route through it."""
    inventory = cluster.inventory
    networks = {
        name: {rail.network for rail in other.rails} for name, other in inventory.hosts.items()
    }
    through = {
        route.via
        for name, facts in cluster.facts.items()
        if name != host.name
        for route in facts[ROUTES].routes
        if route.destination != "default"
    }
    for first in host.rails:
        for second in host.rails:
            if first is second:
                continue
            apart = any(
                one != other and not networks[one] & networks[other]
                for one, _ in inventory.peers(host.name, first)
                for other, _ in inventory.peers(host.name, second)
            )
            if apart or first.ip in through:
                yield first, second


RULES = (rails, forward, *each_host(api))
