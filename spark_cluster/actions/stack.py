"""What monitoring and services share: a playbook whose every step takes the same parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Active, Outcome, activate, lost_results, planned
from spark_cluster.core.plan import Override
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.request import RunRequest


def stack_request(
    verb: str,
    playbook: str,
    steps: Iterable[str],
    inventory: Inventory,
    hosts: Sequence[str],
    parameters: Mapping[str, Any],
    settings: Sequence[str] = (),
    **more: Any,
) -> RunRequest:
    """The playbook with every step given these parameters; `settings` win over them."""
    ours = [Override(step, name, value) for step in steps for name, value in parameters.items()]
    return RunRequest(verb, playbook, hosts, inventory, [*ours, *settings], **more)


def take_down(
    request: RunRequest,
    operator: Operator,
    step: str,
    *,
    dry_run: bool,
    commands: bool,
    left: Callable[[Active], Mapping[str, Any]] = lambda _: {},
) -> Outcome:
    """Carry a removal out on the hosts that answer; `unknown` in the outcome's data are the others.

    `step` names the result of a host that was not reached, `left` what else is told at the end.
    """
    with activate(request, operator, journal=not dry_run) as active:
        plan = active.run.plan()
        if dry_run:
            return planned(active, plan, commands=commands)
        results = active.run.apply(plan)
        missing = lost_results(active.session, step)
        data = {"unknown": [result.host for result in missing], **left(active)}
        return active.finish([*results, *missing], data=data)
