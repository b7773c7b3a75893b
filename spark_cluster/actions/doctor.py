"""Examine the hosts, and run the steps of bootstrap that repair what was found."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Outcome, activate, carry_out, looking
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.error import InputError, SparkError
from spark_cluster.core.event import Event, Note
from spark_cluster.doctor.cluster import FACTS, Clock, Cluster
from spark_cluster.doctor.examine import examine, exit_code, repairs
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes import loader
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.session import HostSession, Session


@dataclass(frozen=True)
class ExplainedFinding(Finding):
    """A finding with its diagnosis' title and why it matters."""

    title: str = ""
    why: str = ""


@dataclass(frozen=True)
class DoctorReport(Event):
    """What an examination found, the gravest first. `phase` is examined, or after-fix for the
    second look; `hosts` are up or unknown, `counts` the findings by severity."""

    kind: str = field(default="doctor", init=False)
    phase: str
    inventory: str
    hosts: dict[str, str]
    findings: tuple[ExplainedFinding, ...]
    counts: dict[str, int]
    exit_code: int


def report(
    inventory: Inventory, hosts: Sequence[str], operator: Operator, *, after_fix: bool = False
) -> DoctorReport:
    """Examine these hosts; nothing is changed."""
    cluster = read(inventory, hosts, operator)
    findings = examine(cluster)
    counts = Counter(finding.severity for finding in findings)
    return DoctorReport(
        "after-fix" if after_fix else "examined",
        str(inventory.path),
        {name: "up" if name in cluster.facts else "unknown"
         for name in (*cluster.facts, *cluster.away)},
        tuple(map(_explained, findings)),
        {severity.value: counts[severity] for severity in Severity},
        exit_code(findings),
    )  # fmt: skip


def _explained(finding: Finding) -> ExplainedFinding:
    known = {each.name: getattr(finding, each.name) for each in fields(finding)}
    diagnosis = DIAGNOSES[finding.code]
    return ExplainedFinding(**known, title=diagnosis.title, why=diagnosis.why)


def read(inventory: Inventory, names: Sequence[str], operator: Operator) -> Cluster:
    """Every host's facts in one exec each; a host that does not answer is `away`.

    `doctor.examine.examine` makes findings of it.
    """
    with looking(inventory, names, operator) as session:
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
    own = loader.own_recipes(inventory.path, inventory.recipes)
    found = set()
    for name in loader.known(own):
        try:
            found.add(loader.load(name, own).image)
        except InputError:
            continue
    return frozenset(found)


def repair(inventory: Inventory, findings: Sequence[Finding], operator: Operator) -> Outcome | None:
    """Run the bootstrap playbook's steps that the findings name, on their hosts. None if there are
    none to run; what became of it a second look tells."""
    wanted = repairs(list(findings))
    if not wanted:
        return None
    named = {host for hosts in wanted.values() for host in hosts}
    request = RunRequest(
        verb="doctor",
        playbook="bootstrap",
        hosts=[name for name in inventory.hosts if name in named],
        inventory=inventory,
        note=f"bootstrap steps: {', '.join(sorted(wanted))}",
    )
    with activate(request, operator) as active:
        steps = [planned.step.name for planned in active.run.playbook.steps]
        for step in active.run.playbook.lacks(sorted(wanted)):
            active.listener(Note(f"not repaired: the playbook has no step {step}"))
        active.run.leave_out([step for step in steps if step not in wanted])
        return carry_out(active, active.run.plan())
