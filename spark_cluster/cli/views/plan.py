"""How a plan is shown."""

from __future__ import annotations

from collections.abc import Collection

from spark_cluster.cli.terminal import Console
from spark_cluster.core.plan import Plan, PlannedStep
from spark_cluster.core.step import Assessment
from spark_cluster.core.units import count
from spark_cluster.runner import guard_scripts


def show(
    plan: Plan, console: Console, refused: Collection[tuple[str, str]], *, commands: bool
) -> None:
    """Per step and host: what would change, what is in the way, what is checked later.

    `refused`: step and host of the problems that no earlier step of the plan will have mended.
    """
    for planned, assessments in plan:
        step = planned.step
        if step.traffic is not None:
            console.line("  ", ("when run", "dim"), "    ", (planned.title, "bold"))
            continue
        busy = {h: a for h, a in assessments.items() if a.changes or a.problems}
        idle = [host for host in assessments if host not in busy]
        if idle:
            words = "skipped" if all(assessments[h].skipped for h in idle) else "no change"
            console.line(
                "  ", (f"{words:<11}", "dim"), " ", (planned.title, "bold"), f"  {', '.join(idle)}"
            )
        for host, assessment in busy.items():
            way = "in the way" if (step.name, host) in refused else "now"
            _show_host(console, planned, host, assessment, way, commands=commands)
    total = plan.change_count
    console.line(("plan", "bold"), f": {count(total, 'change') if total else 'no change'}")


def _show_host(
    console: Console,
    planned: PlannedStep,
    host: str,
    assessment: Assessment,
    way: str,
    *,
    commands: bool,
) -> None:
    guard = planned.guard_seconds
    word = "would change" if assessment.changes else "would check"
    console.line("  ", (f"{word:<11}", "yellow"), " ", (planned.title, "bold"), f"  {host}")
    for change in assessment.changes:
        console.line(f"                {change.what}: {change.before} -> {change.after}")
        for line in change.diff:
            console.line(f"                  {line}")
        if commands and guard is None:
            _show_commands(console, change.commands)
    if commands and guard is not None and assessment.changes:
        console.line("                all of it inside the network guard:")
        _show_commands(console, guard_scripts.arm("RUN", guard, assessment.changes))
    for problem in assessment.problems:
        console.line(f"                {way}: {problem.code} {problem.what}")


def _show_commands(console: Console, commands: str) -> None:
    for line in commands.rstrip().split("\n"):
        console.line(f"                  $ {line}")
