"""For verbs that are not actions yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from spark_cluster.cli.running import Active, Request, activate, refuse
from spark_cluster.core.plan import Plan


@dataclass(frozen=True)
class End:
    data: dict[str, Any]
    lines: Iterable[str]


def run_playbook(
    request: Request,
    *,
    dry_run: bool = False,
    commands: bool = False,
    end: Callable[[Active], End] | None = None,
) -> int:
    from spark_cluster.actions.run import planned
    from spark_cluster.cli.output import Output

    with activate(request, journal=not dry_run) as active:
        plan = active.run.plan()
        if dry_run:
            outcome = planned(active._active, plan, commands=commands)
            return Output(request.as_json, request.verbose).finish(outcome, commands=commands)
        return carry_out(active, plan, end)


def carry_out(active: Active, plan: Plan, end: Callable[[Active], End] | None = None) -> int:
    refused = refuse(active, plan)
    if refused:
        return active.finish(refused, data={"begun": False})
    results = active.run.apply(plan)
    if end is None:
        return active.finish(results)
    told = end(active)
    code = active.finish(results, data=told.data)
    if code == 0:
        for line in told.lines:
            active.say(line)
    return code
