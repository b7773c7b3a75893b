"""Take ours down, look again, and go on with what earlier teardowns left open."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spark_cluster.actions.bootstrap import undo_request
from spark_cluster.actions.events import NotLaunched, Resuming, Waiting
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Active, Outcome, activate, looking, lost_results, run_playbook
from spark_cluster.core.error import (
    AuthFailed,
    HostKeyRejected,
    InputError,
    StateUnknown,
    Unreachable,
)
from spark_cluster.core.event import Note
from spark_cluster.core.plan import Override, Plan
from spark_cluster.core.result import Result, Status, exit_code
from spark_cluster.document import suggest
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.inventory.models import Inventory
from spark_cluster.places import short
from spark_cluster.playbook.loader import Setting
from spark_cluster.recipes import loader as recipes
from spark_cluster.runner.history import Past, past_runs, unfinished, unfinished_elsewhere
from spark_cluster.runner.lock import PREEMPTIBLE
from spark_cluster.runner.request import RunRequest
from spark_cluster.steps.containers import containers
from spark_cluster.steps.teardown_check import NOT_BACK, teardown_check
from spark_cluster.steps.view import Options

#: With --force the kernel gets less time to give everything back: the run ends within a bound.
_FORCED = Override(teardown_check.name, "seconds", 15, "--force")

#: Seconds between two looks at hosts that are away.
_PAUSE = 10.0


def teardown_request(
    inventory: Inventory,
    hosts: Sequence[str],
    *,
    recipe: str = "",
    force: bool = False,
    settings: Sequence[Setting] = (),
) -> RunRequest:
    """A teardown of one recipe, or of all that is ours. Hosts that are away do not stop it."""
    return RunRequest(
        verb="teardown",
        playbook="teardown",
        hosts=hosts,
        inventory=inventory,
        settings=[*([_FORCED] if force else []), *settings],
        options=Options(force=force, recipe=recipe),
        all_hosts_needed=False,
        preempt=PREEMPTIBLE,
        carry_on=True,
        needs_lock=not force,
        needs=(containers.name, teardown_check.name),
    )


def swap_on(wanted: bool) -> list[Setting]:
    """What turns the swap of /etc/fstab back on."""
    return [Override("swap", "state", "on", "--restore-swap")] if wanted else []


def teardown(
    inventory: Inventory,
    names: Sequence[str],
    operator: Operator,
    *,
    recipe: str = "",
    force: bool = False,
    settings: Sequence[Setting] = (),
    network: bool = False,
    restore_swap: bool = False,
    dry_run: bool = False,
) -> list[Outcome]:
    """Take down, and with `network` then undo the network; an outcome each. The network stays as
    it is where the teardown is not complete, and that is told."""
    chosen = [*swap_on(restore_swap), *settings]
    request = teardown_request(inventory, names, recipe=recipe, force=force, settings=chosen)
    if dry_run:
        down = run_playbook(request, operator, dry_run=True)
        why = "not every host could be read"
    else:
        down = take_down(request, operator)
        bad = dict.fromkeys(result.host for result in down.results if not result.status.good)
        why = f"the teardown is not complete on {', '.join(bad)}"
    if not network:
        return [down]
    if down.exit_code:
        then = f"then `spark-cluster undo network --hosts {','.join(names)}`"
        operator.listener(Note(f"the network stays as it is: {why}; {then}"))
        return [down]
    return [down, run_playbook(undo_request(inventory, names), operator, dry_run=dry_run)]


def take_down(request: RunRequest, operator: Operator) -> Outcome:
    """Carry the teardown out. A host that was not reached has a result that is `unknown`.

    The outcome's data: `unknown`, hosts that were not reached; `clear`, hosts on which nothing of
    `recipe` (of ours, if that is empty) is left, if that is so everywhere.

    Raises Unreachable if none is reached; the journal has it for `teardown --resume`, too.
    """
    try:
        with activate(request, operator) as active:
            return _carry_out(request, active)
    except Unreachable as error:
        error.remedy += (
            " What runs there may still run: `spark-cluster teardown --resume --wait 30m` "
            "ends it when it answers."
        )
        raise


def _carry_out(request: RunRequest, active: Active) -> Outcome:
    plan = active.run.plan()
    _known_recipe(request, active, plan)
    results = active.run.apply(plan)
    told = {result.host for result in results}
    missing = [
        lost for lost in lost_results(active.session, teardown_check.name) if lost.host not in told
    ]
    every = [*results, *missing]
    code = exit_code(every)
    return active.finish(every, code=code, data=_end(active, every, code))


def _end(active: Active, results: Sequence[Result], code: int) -> dict[str, Any]:
    away = {Status.UNKNOWN, Status.UNREACHABLE}
    unknown = dict.fromkeys(
        result.host
        for result in results
        if result.status in away and (result.error is None or not result.error.code)
    )
    return {
        "recipe": active.request.options.recipe,
        "unknown": list(unknown),
        "clear": active.session.alive if code == 0 else [],
    }


def may_launch(recipe: str, results: Sequence[Result], operator: Operator) -> bool:
    """Whether a launch of the recipe may follow this teardown; tells it if that is not clear.

    Memory that is not back does not matter: days after the launch others may use it, and the next
    launch measures what it needs.
    """
    bad = [result for result in results if not result.status.good]
    clear = all(result.error is not None and result.error.code == NOT_BACK for result in bad)
    if bad:
        hosts = dict.fromkeys(result.host for result in bad)
        operator.listener(NotLaunched(recipe, tuple(hosts), clear))
    return clear


def _known_recipe(request: RunRequest, active: Active, plan: Plan) -> None:
    """Raises InputError for a name that no container and no recipe has: a slip of the pen would
    otherwise read as a success."""
    name = request.options.recipe
    running = {
        container.label("recipe")
        for host in active.session.alive
        for container in active.run.view(host).facts[CONTAINERS].containers
    }
    own = recipes.own_recipes(request.inventory.path, request.inventory.recipes)
    known = {*running, *recipes.known(own)}
    if name and plan.change_count == 0 and name not in known:
        raise InputError(
            f"nothing of ours is called {name!r}",
            remedy=suggest(name, sorted(known), "recipes"),
        )


def resume(
    inventory: Inventory,
    names: Sequence[str],
    operator: Operator,
    *,
    settings: Sequence[Setting] = (),
    seconds: float = 0.0,
    force: bool = False,
) -> Outcome:
    """Take down what earlier teardowns left open, as the hosts come back, at most for `seconds`.

    Raises Unreachable for those that are still away then, and StateUnknown if there was nothing to
    do here while the journal knows open teardowns with other inventories.
    """
    runs = past_runs(tell=lambda text: operator.listener(Note(text)))
    left_open = unfinished(runs, str(inventory.path))
    pending = [name for name in names if name in left_open]
    rest = tuple(name for name in left_open if name not in names)
    operator.listener(Resuming(tuple(pending), str(inventory.path), rest))
    if not pending:
        _told_elsewhere(runs, inventory, operator)
    deadline = time.monotonic() + seconds
    outcomes = [Outcome(0)]
    awaited: list[str] = []
    while pending:
        back = _reachable(inventory, pending, operator)
        outcomes += _of_each_recipe(inventory, back, left_open, operator, settings, force=force)
        pending = [name for name in pending if name not in back]
        if time.monotonic() >= deadline:
            break
        if pending and pending != awaited:
            operator.listener(Waiting(tuple(pending), seconds / 60))
        awaited = pending
        if pending:
            time.sleep(_PAUSE)
    if pending:
        raise Unreachable(
            f"still away: {', '.join(pending)}; what runs there may still run",
            remedy="Switch it on, or run `spark-cluster teardown --resume --wait 30m`.",
        )
    results = [result for outcome in outcomes for result in outcome.results]
    return Outcome(max(outcome.exit_code for outcome in outcomes), tuple(results))


def _of_each_recipe(
    inventory: Inventory,
    back: Sequence[str],
    left_open: Mapping[str, Past],
    operator: Operator,
    settings: Sequence[Setting],
    *,
    force: bool,
) -> list[Outcome]:
    """The hosts that are back, those of one recipe at a time."""
    outcomes = []
    for recipe in dict.fromkeys(left_open[name].recipe or "" for name in back):
        hosts = [name for name in back if (left_open[name].recipe or "") == recipe]
        request = teardown_request(inventory, hosts, recipe=recipe, force=force, settings=settings)
        outcomes.append(take_down(request, operator))
    return outcomes


def _told_elsewhere(runs: list[Past], inventory: Inventory, operator: Operator) -> None:
    """Raises StateUnknown for hosts that teardowns with other inventories left open. Those of an
    inventory that is gone are told only: nobody could finish them."""
    there: dict[str, str] = {}
    gone: list[str] = []
    for path, hosts in unfinished_elsewhere(runs, str(inventory.path)).items():
        said = f"{', '.join(hosts)} ({short(Path(path))})"
        if Path(path).is_file():
            there[short(Path(path))] = said
        else:
            gone.append(said)
    if gone:
        told = f"not finished with inventories that are not there any more: {'; '.join(gone)}"
        operator.listener(Note(told))
    if there:
        again = "; ".join(f"`spark-cluster teardown --resume --inventory {path}`" for path in there)
        raise StateUnknown(
            f"not finished with other inventories: {'; '.join(there.values())}; what runs there "
            "may still run",
            remedy=f"{again}.",
        )


def _reachable(inventory: Inventory, names: Sequence[str], operator: Operator) -> list[str]:
    """Those that answer now. Raises HostKeyRejected and AuthFailed: waiting mends neither."""
    with looking(inventory, names, operator) as session:
        for error in session.lost.values():
            if isinstance(error, HostKeyRejected | AuthFailed):
                raise error
        return session.alive
