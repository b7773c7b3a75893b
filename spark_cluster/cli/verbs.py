"""What the verbs share: show a plan, or carry it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from spark_cluster.actions.running import Active, Request, activate, refuse
from spark_cluster.cli.views import plan as plans
from spark_cluster.core.plan import Plan
from spark_cluster.core.result import exit_code


@dataclass(frozen=True)
class End:
    """What a verb tells when its plan was carried out: `data` under --json, and `lines` to a
    person if all is well."""

    data: dict[str, Any]
    lines: Iterable[str]


def run_playbook(
    request: Request,
    *,
    dry_run: bool = False,
    commands: bool = False,
    end: Callable[[Active], End] | None = None,
) -> int:
    """Plan, and unless `dry_run` apply. The exit code."""
    with activate(request, journal=not dry_run) as active:
        plan = active.run.plan()
        if dry_run:
            return show_plan(active, plan, commands=commands)
        return carry_out(active, plan, end)


def carry_out(active: Active, plan: Plan, end: Callable[[Active], End] | None = None) -> int:
    """Apply the plan, unless something is in the way, and tell the end. The exit code."""
    refused = refuse(active, plan)
    if refused:
        active.say("Nothing was changed: what stands above is in the way.")
        return active.finish(refused)
    results = active.run.apply(plan)
    if end is None:
        return active.finish(results)
    told = end(active)
    code = active.finish(results, data=told.data)
    if code == 0:
        for line in told.lines:
            active.say(line)
    return code


def show_plan(active: Active, plan: Plan, *, commands: bool) -> int:
    """Print the plan. Exit 0, or that of the hosts that could not be read."""
    if active.view is None:
        rows = plans.as_data(plan, commands=commands)
        return active.finish(active.run.results, data={"plan": rows})
    active.view.flush()
    refused = {(result.step, result.host) for result in active.run.refusals(plan)}
    plans.show(plan, active.view.console, refused, commands=commands)
    return exit_code(active.run.results)
