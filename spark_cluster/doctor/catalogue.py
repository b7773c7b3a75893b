"""The findings' usual severity and repair, by code. The texts stand in core/diagnoses.yaml.

A rule may say another severity where the numbers are worse or better than usual.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.doctor.finding import Finding, Severity

CRITICAL, WARNING, NOTE = Severity


@dataclass(frozen=True)
class Entry:
    """`repair`: the bootstrap step that mends it, at least in its usual form."""

    severity: Severity
    repair: str | None = None


CATALOGUE: dict[str, Entry] = {
    # The cable and the ports
    "NET001": Entry(CRITICAL),
    "NET002": Entry(CRITICAL),
    "NET010": Entry(CRITICAL),
    "NET011": Entry(CRITICAL),
    "NET012": Entry(CRITICAL),
    "NET013": Entry(WARNING),
    "NET014": Entry(WARNING),
    "NET025": Entry(WARNING),
    "NET026": Entry(WARNING),
    "NET027": Entry(NOTE),
    # Addresses, MTU, owners, routes, filters
    "NET003": Entry(WARNING),
    "NET004": Entry(CRITICAL),
    "NET005": Entry(CRITICAL),
    "NET015": Entry(WARNING, "mtu"),
    "NET016": Entry(CRITICAL, "netplan"),
    "NET017": Entry(WARNING, "ipv6"),
    "NET018": Entry(CRITICAL),
    "NET019": Entry(WARNING),
    "NET020": Entry(WARNING),
    "NET021": Entry(WARNING),
    "NET022": Entry(WARNING),
    "NET023": Entry(CRITICAL),
    # RDMA
    "RDMA001": Entry(CRITICAL),
    "RDMA002": Entry(CRITICAL),
    "RDMA003": Entry(CRITICAL),
    "RDMA004": Entry(CRITICAL),
    "RDMA005": Entry(CRITICAL),
    "RDMA006": Entry(WARNING, "rdma-modules"),
    "RDMA007": Entry(CRITICAL),
    "RDMA008": Entry(WARNING),
    "RDMA009": Entry(WARNING),
    "RDMA016": Entry(CRITICAL),
    "RDMA030": Entry(CRITICAL),
    "RDMA031": Entry(CRITICAL),
    "RDMA032": Entry(CRITICAL),
    "RDMA033": Entry(CRITICAL),
    "RDMA035": Entry(NOTE),
    "RDMA036": Entry(NOTE),
    "RDMA037": Entry(NOTE),
    # The host
    "HOST001": Entry(CRITICAL),
    "HOST002": Entry(WARNING, "swap"),
    "HOST003": Entry(CRITICAL),
    "HOST010": Entry(CRITICAL),
    "HOST011": Entry(WARNING),
    "HOST012": Entry(NOTE),
    "HOST013": Entry(WARNING, "memlock"),
    "HOST014": Entry(NOTE),
    "HOST015": Entry(WARNING),
    "HOST016": Entry(NOTE),
    "HOST017": Entry(WARNING),
    "HOST018": Entry(WARNING),
    "HOST019": Entry(WARNING),
    "HOST020": Entry(NOTE),
    "HOST021": Entry(WARNING),
    "HOST022": Entry(WARNING),
    "HOST023": Entry(NOTE),
    "HOST024": Entry(WARNING),
    "HOST025": Entry(NOTE),
    "HOST026": Entry(WARNING),
    # Docker and the GPU
    "DOCKER001": Entry(CRITICAL),
    "DOCKER002": Entry(CRITICAL),
    "DOCKER003": Entry(NOTE),
    "DOCKER004": Entry(NOTE),
    "DOCKER005": Entry(NOTE),
    "GPU001": Entry(CRITICAL),
    "GPU002": Entry(WARNING),
    "GPU003": Entry(WARNING),
    "GPU004": Entry(WARNING),
    "GPU005": Entry(WARNING),
    "GPU006": Entry(NOTE),
    # What serves, or should not
    "SERVE003": Entry(WARNING),
    "SERVE005": Entry(WARNING),
    "SERVE009": Entry(CRITICAL),
    "SERVE010": Entry(WARNING),
    "SERVE011": Entry(WARNING),
    "SERVE015": Entry(CRITICAL),
}

_SAME = "as the catalogue says"


def find(
    code: str,
    host: str,
    what: str,
    *,
    fix: str | None = None,
    severity: Severity | None = None,
    repair: str | None = _SAME,
) -> Finding:
    """A finding, with what its entry and its diagnosis say where the rule says nothing."""
    entry = CATALOGUE[code]
    return Finding(
        code,
        what,
        severity or entry.severity,
        host,
        fix or DIAGNOSES[code].fix,
        entry.repair if repair == _SAME else repair,
    )
