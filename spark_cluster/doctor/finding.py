"""What a rule of the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spark_cluster.core import finding as core


class Severity(StrEnum):
    """critical: the cluster cannot serve, or not over RDMA. warning: it serves worse, or will
    fail some day. note: worth knowing, nothing to do at once."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 is the gravest."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Finding(core.Finding):
    """`fix` is the command or the act that mends it; `repair` the step of the bootstrap playbook
    that does, None where a person must decide."""

    severity: Severity
    host: str
    fix: str
    repair: str | None = None
