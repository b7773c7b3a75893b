"""The findings' usual severity and repair, by code, as core/diagnoses.yaml has them.

A rule may say another severity where the numbers are worse or better than usual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spark_cluster.core.data_files import DataTable
from spark_cluster.core.diagnosis import DIAGNOSES, entries
from spark_cluster.doctor.finding import Finding, Severity


@dataclass(frozen=True)
class Entry:
    """`repair`: the bootstrap step that mends it, at least in its usual form."""

    severity: Severity
    repair: str | None = None


#: Of the diagnoses that have a severity: the others are reasons of steps and verdicts.
CATALOGUE: Mapping[str, Entry] = DataTable(
    lambda: {
        code: Entry(Severity(entry["severity"]), entry.get("repair"))
        for code, entry in entries().items()
        if "severity" in entry
    }
)

_SAME = "as the catalogue says"


def find(
    code: str,
    what: str,
    *,
    host: str = "",
    fix: str | None = None,
    severity: Severity | None = None,
    repair: str | None = _SAME,
) -> Finding:
    """A finding, with what its entry and its diagnosis say where the rule says nothing. The host
    is left out by a rule of `each_host`."""
    entry = CATALOGUE[code]
    return Finding(
        code,
        what,
        severity or entry.severity,
        host,
        fix or DIAGNOSES[code].fix,
        entry.repair if repair == _SAME else repair,
    )
