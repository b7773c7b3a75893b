"""What an examination says, whatever was examined."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
class Finding:
    """`code` is explained by core/diagnoses.yaml; `what` was seen, with numbers and units."""

    code: str
    what: str
