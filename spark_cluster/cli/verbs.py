"""What the verbs share: show a plan, or carry it out."""

from __future__ import annotations

from spark_cluster.cli import plans
from spark_cluster.cli.running import Active, Request, activate, refuse
from spark_cluster.core.plan import Plan
from spark_cluster.core.result import exit_code


def run_playbook(request: Request, *, dry_run: bool = False, commands: bool = False) -> int:
    """Plan, and unless `dry_run` apply. The exit code."""
    with activate(request, journal=not dry_run) as active:
        plan = active.run.plan()
        if dry_run:
            return show_plan(active, plan, commands=commands)
        refused = refuse(active, plan)
        if refused:
            active.say("Nothing was changed: what stands above is in the way.")
            return active.finish(refused)
        results = active.run.apply(plan)
        return active.finish(results)


def show_plan(active: Active, plan: Plan, *, commands: bool) -> int:
    """Print the plan. Exit 0, or that of the hosts that could not be read."""
    if active.view is None:
        rows = plans.as_data(plan, commands=commands)
        return active.finish(active.run.results, data={"plan": rows})
    active.view.flush()
    refused = {(result.step, result.host) for result in active.run.refusals(plan)}
    plans.show(plan, active.view.console, refused, commands=commands)
    return exit_code(active.run.results)
