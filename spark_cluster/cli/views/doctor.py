"""What the doctor found."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.actions.doctor import DoctorReport, ExplainedFinding
from spark_cluster.core.units import count
from spark_cluster.doctor.finding import Severity
from spark_cluster.terminal.printing import Shown

_STYLES = {
    Severity.CRITICAL: "bold red",
    Severity.WARNING: "yellow",
    Severity.NOTE: "dim",
}


def lines(report: DoctorReport, *, verbose: bool) -> Iterator[Shown]:
    """The findings, the gravest first. With `verbose`: why each matters, in full."""
    title = "doctor, after --fix:" if report.phase == "after-fix" else "doctor"
    hosts = ", ".join(report.hosts)
    yield (title, "bold"), f" {hosts}  ", (f"inventory {report.inventory}", "dim")
    for finding in report.findings:
        yield from _finding(finding, verbose=verbose)
    named = [count(number, severity) for severity, number in report.counts.items() if number]
    graver = sum(number for name, number in report.counts.items() if name != Severity.NOTE.value)
    yield ("doctor", "bold"), f": {', '.join(named) if named else 'nothing found'}"
    if graver and not verbose:
        yield "  More about each: `spark-cluster explain CODE`, or -v."


def _finding(finding: ExplainedFinding, *, verbose: bool) -> Iterator[Shown]:
    severity = f"{finding.severity.value:<8}", _STYLES[finding.severity]
    code = f"{finding.code:<9}", "bold"
    yield "  ", severity, " ", code, f" {finding.host:<10} {finding.what}"
    if finding.severity is Severity.NOTE and not verbose:
        return
    yield f"             why  {_why(finding.why, verbose=verbose)}"
    yield f"             fix  {finding.fix}"
    if finding.repair is not None:
        yield f"             `--fix` repairs it (bootstrap step {finding.repair})"


def _why(text: str, *, verbose: bool) -> str:
    """The first sentence, or all."""
    first, dot, _ = text.partition(". ")
    return text if verbose or not dot else f"{first}."
