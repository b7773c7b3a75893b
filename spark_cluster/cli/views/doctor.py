"""Reading and printing for `doctor`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from spark_cluster.actions.running import looking
from spark_cluster.cli.terminal import Console
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.error import InputError, SparkError
from spark_cluster.core.units import count
from spark_cluster.doctor.cluster import FACTS, Clock, Cluster
from spark_cluster.doctor.examine import exit_code
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.session import HostSession, Session

_STYLES = {
    Severity.CRITICAL: "bold red",
    Severity.WARNING: "yellow",
    Severity.NOTE: "dim",
}


def read(inventory: Inventory, names: list[str]) -> Cluster:
    """Every host's facts in one exec each; a host that does not answer is `away`."""
    with looking(inventory, names) as session:
        return look(session, inventory)


def look(session: Session, inventory: Inventory) -> Cluster:
    """The cluster as a connected session finds it."""
    outcomes = session.each(session.alive, _read)
    away = {name: error.message for name, error in session.lost.items()}
    facts: dict[str, Facts] = {}
    clocks: dict[str, Clock] = {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, SparkError):
            away[name] = outcome.message
        else:
            facts[name], clocks[name] = outcome
    return Cluster(inventory, facts, away, clocks, _images(inventory))


def _read(host: HostSession) -> tuple[Facts, Clock]:
    before = time.time()
    facts = host.read(FACTS)
    return facts, Clock(before, time.time())


def _images(inventory: Inventory) -> frozenset[str]:
    """The images of all recipes that can be read; a broken recipe is not the doctor's subject."""
    from spark_cluster.recipes import loader

    own = loader.own_recipes(inventory.path, inventory.recipes)
    found = set()
    for name in loader.known(own):
        try:
            found.add(loader.load(name, own).image)
        except InputError:
            continue
    return frozenset(found)


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
