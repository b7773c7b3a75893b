"""What a rule of the doctor says."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core import finding as core
from spark_cluster.core.finding import Severity

__all__ = ["Finding", "Severity"]


@dataclass(frozen=True)
class Finding(core.Finding):
    """`fix` is the command or the act that mends it; `repair` the step of the bootstrap playbook
    that does, None where a person must decide."""

    severity: Severity
    host: str
    fix: str
    repair: str | None = None
