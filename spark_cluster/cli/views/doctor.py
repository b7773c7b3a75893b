"""What the doctor found."""

from __future__ import annotations

from spark_cluster.actions.doctor import DoctorReport, ExplainedFinding
from spark_cluster.cli.output import Output
from spark_cluster.cli.terminal import Console
from spark_cluster.core.units import count
from spark_cluster.doctor.finding import Severity

_STYLES = {
    Severity.CRITICAL: "bold red",
    Severity.WARNING: "yellow",
    Severity.NOTE: "dim",
}


def show(output: Output, report: DoctorReport) -> None:
    """The findings, the gravest first. With --verbose: why each matters, in full."""
    output.json(report)
    if output.as_json:
        return
    console, verbose = Console(), output.verbose
    title = "doctor, after --fix:" if report.phase == "after-fix" else "doctor"
    hosts = ", ".join(report.hosts)
    console.line((title, "bold"), f" {hosts}  ", (f"inventory {report.inventory}", "dim"))
    for finding in report.findings:
        _show(console, finding, verbose=verbose)
    named = [count(number, severity) for severity, number in report.counts.items() if number]
    graver = sum(number for name, number in report.counts.items() if name != Severity.NOTE.value)
    console.line(("doctor", "bold"), f": {', '.join(named) if named else 'nothing found'}")
    if graver and not verbose:
        console.line("  More about each: `spark-cluster explain CODE`, or -v.")


def _show(console: Console, finding: ExplainedFinding, *, verbose: bool) -> None:
    console.line(
        "  ",
        (f"{finding.severity.value:<8}", _STYLES[finding.severity]),
        " ",
        (f"{finding.code:<9}", "bold"),
        f" {finding.host:<10} {finding.what}",
    )
    if finding.severity is Severity.NOTE and not verbose:
        return
    console.line(f"             why  {_why(finding.why, verbose=verbose)}")
    console.line(f"             fix  {finding.fix}")
    if finding.repair is not None:
        console.line(f"             `--fix` repairs it (bootstrap step {finding.repair})")


def _why(text: str, *, verbose: bool) -> str:
    """The first sentence, or all."""
    first, dot, _ = text.partition(". ")
    return text if verbose or not dot else f"{first}."
