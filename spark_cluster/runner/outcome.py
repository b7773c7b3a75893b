"""What may be claimed of a step: from its last assessment, or from the error that ended it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from spark_cluster.core.error import (
    CheckFailed,
    SparkError,
    StateUnknown,
    StepFailed,
    Unreachable,
)
from spark_cluster.core.plan import PlannedStep
from spark_cluster.core.result import Result, Status
from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change, Problem
from spark_cluster.facts import probe
from spark_cluster.facts.base import Facts
from spark_cluster.facts.links import LINKS, PING
from spark_cluster.inventory.models import Inventory


def with_secrets(changes: Sequence[Change]) -> str:
    """The commands of the changes after their secrets, which they use as shell variables. For a
    standard input only."""
    secrets = {name: value for change in changes for name, value in change.secrets.items()}
    lines = [f"{name}={quote(value.reveal())}\n" for name, value in secrets.items()]
    return "".join([*lines, *(change.commands for change in changes)])


def change_script(run: str, step: str, commands: str) -> str:
    """The commands under `set -eu`, told to the host's own journal; then the script goes on."""
    # Not `( … ) || …`: sh ignores `set -e` in a command whose status is tested.
    return f"""\
{probe.PRELUDE}(
set -eu
{commands})
_rc=$?
if [ $_rc -ne 0 ]; then
  logger -t spark-cluster "run {run}: {step} failed with status $_rc"
  exit $_rc
fi
logger -t spark-cluster "run {run}: {step} changed"
"""


def silent_peers(first: Facts, now: Facts, present: frozenset[str]) -> list[str]:
    """Peers that were silent at full size, of those that answered before or whose address is
    `present` on a host of this run."""
    answered_before = (
        {(p.interface, p.peer) for p in first[PING].pings if p.answered} if PING in first else set()
    )
    return [
        f"{ping.peer} does not answer a {ping.size} byte ping from {ping.interface}"
        for ping in now[PING].pings
        if not ping.answered
        and (ping.peer in present or (ping.interface, ping.peer) in answered_before)
    ]


def present_addresses(
    first: Mapping[str, Facts], changing: set[str], inventory: Inventory
) -> frozenset[str]:
    """The rails' addresses that this run gives its hosts, or that they already have on a link with
    a carrier: these must answer."""
    given = {rail.ip for name in changing for rail in inventory.hosts[name].rails}
    there = {
        address.partition("/")[0]
        for name, facts in first.items()
        if name not in changing and LINKS in facts
        for link in facts[LINKS].links.values()
        if link.carrier
        for address in link.ipv4
    }
    return frozenset(given | there)


def result_of(
    name: str, planned: PlannedStep, assessment: Assessment, changed: Sequence[Change]
) -> Result:
    """The result that the last assessment allows to claim."""
    if assessment.problems:
        return failure(name, planned, assessment.problems)
    claim = partial(Result, name, planned.step.name, title=planned.title)
    if assessment.changes:
        still = "; ".join(f"{c.what} is still {c.before}" for c in assessment.changes)
        error = StepFailed(
            f"the commands ran, and the second reading still differs: {still}",
            host=name,
            step=planned.step.name,
            remedy="Something else sets it back. Look at it on the host, then run again.",
        )
        return claim(Status.FAILED, still, error=error)
    if assessment.skipped is not None:
        return claim(Status.SKIPPED, assessment.skipped)
    if changed:
        done = [f"{c.what}: {c.before} -> {c.after}" for c in changed]
        return claim(Status.CHANGED, f"{len(changed)} changed", (*done, *assessment.notes))
    return claim(Status.OK, "; ".join(assessment.notes))


def failure(name: str, planned: PlannedStep, problems: Sequence[Problem]) -> Result:
    first = problems[0]
    unknown = all(problem.unknown for problem in problems)
    error = (StateUnknown if unknown else CheckFailed)(
        "; ".join(problem.what for problem in problems),
        host=name,
        step=planned.step.name,
        code=first.code or None,
        remedy=first.remedy,
    )
    details = tuple(f"{p.code} {p.what}".strip() for p in problems)
    status = Status.UNKNOWN if unknown else Status.FAILED
    return Result(name, planned.step.name, status, details[0], details, error, title=planned.title)


def as_result(name: str, planned: PlannedStep, error: SparkError) -> Result:
    error.step = error.step or planned.step.name
    status = Status.FAILED
    if isinstance(error, Unreachable):
        status = Status.UNREACHABLE
    elif isinstance(error, StateUnknown):
        status = Status.UNKNOWN
    return Result(name, planned.step.name, status, error.message, error=error, title=planned.title)
