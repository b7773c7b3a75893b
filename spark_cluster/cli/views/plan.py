"""How a plan is shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from spark_cluster.core.plan import Plan, PlannedStep
from spark_cluster.core.step import Assessment
from spark_cluster.core.units import count
from spark_cluster.runner import guard_scripts
from spark_cluster.terminal.printing import Shown


def lines(plan: Plan, refused: Collection[tuple[str, str]], *, commands: bool) -> Iterator[Shown]:
    """Per step and host: what would change, what is in the way, what is checked later.

    `refused`: step and host of the problems that no earlier step of the plan will have mended.
    """
    for planned, assessments in plan:
        step, title = planned.step, (planned.title, "bold")
        if step.traffic is not None:
            yield "  ", ("when run", "dim"), "    ", title
            continue
        busy = {h: a for h, a in assessments.items() if a.changes or a.problems}
        idle = [host for host in assessments if host not in busy]
        if idle:
            words = "skipped" if all(assessments[h].skipped for h in idle) else "no change"
            yield "  ", (f"{words:<11}", "dim"), " ", title, f"  {', '.join(idle)}"
        for host, assessment in busy.items():
            word = "would change" if assessment.changes else "would check"
            yield "  ", (f"{word:<11}", "yellow"), " ", title, f"  {host}"
            way = "in the way" if (step.name, host) in refused else "now"
            yield from _of_host(planned, assessment, way, commands=commands)
    total = plan.change_count
    yield ("plan", "bold"), f": {count(total, 'change') if total else 'no change'}"


def _of_host(
    planned: PlannedStep, assessment: Assessment, way: str, *, commands: bool
) -> Iterator[Shown]:
    guard = planned.guard_seconds
    for change in assessment.changes:
        yield f"                {change.what}: {change.before} -> {change.after}"
        yield from (f"                  {line}" for line in change.diff)
        if commands and guard is None:
            yield from _commands(change.commands)
    if commands and guard is not None and assessment.changes:
        yield "                all of it inside the network guard:"
        yield from _commands(guard_scripts.arm("RUN", guard, assessment.changes))
    for problem in assessment.problems:
        yield f"                {way}: {problem.code} {problem.what}"


def _commands(commands: str) -> Iterator[str]:
    yield from (f"                  $ {line}" for line in commands.rstrip().split("\n"))
