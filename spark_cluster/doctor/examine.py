"""Run all rules."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.doctor import (
    fabric,
    filters,
    gpu,
    memory,
    nccl,
    network,
    rdma,
    reported,
    serving,
    software,
    storage,
    system,
)
from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import Cluster, Rule
from spark_cluster.doctor.finding import Finding, Severity


def away(cluster: Cluster) -> Iterator[Finding]:
    """Hosts that did not answer: nothing is known of them."""
    for host, reason in cluster.away.items():
        yield find("HOST010", reason, host=host)


RULES: tuple[Rule, ...] = (
    away, *fabric.RULES, *network.RULES, *filters.RULES, *rdma.RULES, *memory.RULES,
    *storage.RULES, *system.RULES, *software.RULES, *gpu.RULES, *serving.RULES,
    *nccl.RULES, *reported.RULES,
)  # fmt: skip


def examine(cluster: Cluster) -> list[Finding]:
    """All findings, the gravest first, then in the inventory's order of hosts."""
    order = {name: place for place, name in enumerate(cluster.inventory.hosts)}
    findings = dict.fromkeys(finding for rule in RULES for finding in rule(cluster))
    return sorted(
        findings, key=lambda f: (f.severity.rank, order.get(f.host, len(order)), f.code, f.what)
    )


def exit_code(findings: list[Finding]) -> int:
    """3 when a host is away, 4 when there is more than notes, else 0 (core/error.py)."""
    if any(finding.code == "HOST010" for finding in findings):
        return 3
    return 4 if any(finding.severity is not Severity.NOTE for finding in findings) else 0


def repairs(findings: list[Finding]) -> dict[str, set[str]]:
    """The bootstrap steps that mend some of the findings, and the hosts they are for."""
    wanted: dict[str, set[str]] = {}
    for finding in findings:
        if finding.repair is not None:
            wanted.setdefault(finding.repair, set()).add(finding.host)
    return wanted
