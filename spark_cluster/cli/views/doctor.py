"""Reading and printing for `doctor`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from spark_cluster.cli.output import Output
from spark_cluster.cli.terminal import Console
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.units import count
from spark_cluster.doctor.cluster import Cluster
from spark_cluster.doctor.examine import exit_code
from spark_cluster.doctor.finding import Finding, Severity

_STYLES = {
    Severity.CRITICAL: "bold red",
    Severity.WARNING: "yellow",
    Severity.NOTE: "dim",
}


def tell(
    output: Output, cluster: Cluster, findings: Sequence[Finding], *, after_fix: bool = False
) -> None:
    """The findings, for a person or as JSON."""
    if output.as_json:
        output.json(as_data(cluster, findings, "after-fix" if after_fix else "examined"))
    else:
        title = "doctor, after --fix:" if after_fix else "doctor"
        show(Console(), cluster, findings, verbose=output.verbose, title=title)


def as_data(cluster: Cluster, findings: Sequence[Finding], phase: str) -> dict[str, Any]:
    """One line of --json. `phase` is examined, or after-fix for the second look."""
    return {
        "kind": "doctor",
        "phase": phase,
        "inventory": str(cluster.inventory.path),
        "hosts": {
            name: "up" if name in cluster.facts else "unknown"
            for name in (*cluster.facts, *cluster.away)
        },
        "findings": [
            {
                **asdict(finding),
                "title": DIAGNOSES[finding.code].title,
                "why": DIAGNOSES[finding.code].why,
            }
            for finding in findings
        ],
        "counts": _counts(findings),
        "exit_code": exit_code(list(findings)),
    }


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    found = Counter(finding.severity for finding in findings)
    return {severity.value: found[severity] for severity in Severity}


def show(
    console: Console, cluster: Cluster, findings: Sequence[Finding], *, verbose: bool, title: str
) -> None:
    """The findings for a person, the gravest first. `verbose`: why each matters, in full."""
    hosts = ", ".join((*cluster.facts, *cluster.away))
    console.line((title, "bold"), f" {hosts}  ", (f"inventory {cluster.inventory.path}", "dim"))
    for finding in findings:
        _show(console, finding, verbose=verbose)
    counts = _counts(findings)
    named = [count(number, severity) for severity, number in counts.items() if number]
    graver = sum(number for name, number in counts.items() if name != Severity.NOTE.value)
    said = ", ".join(named) if named else "nothing found"
    console.line(("doctor", "bold"), f": {said}")
    if graver and not verbose:
        console.line("  More about each: `spark-cluster explain CODE`, or -v.")


def _show(console: Console, finding: Finding, *, verbose: bool) -> None:
    diagnosis = DIAGNOSES[finding.code]
    console.line(
        "  ",
        (f"{finding.severity.value:<8}", _STYLES[finding.severity]),
        " ",
        (f"{finding.code:<9}", "bold"),
        f" {finding.host:<10} {finding.what}",
    )
    if finding.severity is Severity.NOTE and not verbose:
        return
    console.line(f"             why  {_why(diagnosis.why, verbose=verbose)}")
    console.line(f"             fix  {finding.fix}")
    if finding.repair is not None:
        console.line(f"             `--fix` repairs it (bootstrap step {finding.repair})")


def _why(text: str, *, verbose: bool) -> str:
    """The first sentence, or all."""
    first, dot, _ = text.partition(". ")
    return text if verbose or not dot else f"{first}."
