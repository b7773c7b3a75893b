"""What teardown, relaunch and failover share: take ours down on some hosts, and tell the end."""

from __future__ import annotations

from collections.abc import Sequence

from spark_cluster.actions.running import Active, Request, activate, lost_results
from spark_cluster.cli.options import split
from spark_cluster.cli.terminal import say
from spark_cluster.core.error import InputError, Unreachable
from spark_cluster.core.plan import Plan
from spark_cluster.core.result import Result, Status, exit_code
from spark_cluster.document import suggest
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes import loader as recipes
from spark_cluster.runner.lock import PREEMPTIBLE
from spark_cluster.steps import containers, teardown_check
from spark_cluster.steps.view import Options

#: With --force the kernel gets less time to give everything back: the run ends within a bound.
_FORCED = f"{teardown_check.STEP.name}.seconds=15"


def named_hosts(inventory: Inventory, hosts: list[str] | None, group: str | None) -> list[str]:
    """The hosts of --hosts and --group; all if neither is given."""
    members = inventories.group(inventory, group)[1] if group is not None else ()
    return inventories.select(inventory, [*(split(hosts) or ()), *members] or None)


def teardown_request(
    inventory: Inventory,
    hosts: list[str],
    *,
    recipe: str = "",
    force: bool = False,
    settings: Sequence[str] = (),
    as_json: bool = False,
    verbose: bool = False,
) -> Request:
    """A teardown of one recipe, or of all that is ours. Hosts that are away do not stop it."""
    return Request(
        verb="teardown",
        playbook="teardown",
        hosts=hosts,
        inventory=inventory,
        settings=[*([_FORCED] if force else []), *settings],
        options=Options(force=force, recipe=recipe),
        as_json=as_json,
        verbose=verbose,
        all_hosts_needed=False,
        preempt=PREEMPTIBLE,
        carry_on=True,
        needs_lock=not force,
        needs=(containers.STEP.name, teardown_check.STEP.name),
    )


def take_down(request: Request) -> tuple[int, list[Result]]:
    """Carry the teardown out. The exit code, and every host's results: a host that was not reached
    has one that is `unknown`.

    Raises Unreachable if none is reached; the journal has it for `teardown --resume`, too.
    """
    try:
        with activate(request) as active:
            return _carry_out(request, active)
    except Unreachable as error:
        error.remedy += (
            " What runs there may still run: `spark-cluster teardown --resume --wait MINUTES` "
            "ends it when it answers."
        )
        raise


def _carry_out(request: Request, active: Active) -> tuple[int, list[Result]]:
    plan = active.run.plan()
    _known_recipe(request, active, plan)
    results = active.run.apply(plan)
    told = {result.host for result in results}
    missing = [
        lost
        for lost in lost_results(active.session, teardown_check.STEP.name)
        if lost.host not in told
    ]
    every = [*results, *missing]
    code = active.finish(every, code=exit_code(every))
    _tell(active, every, code)
    return code, every


def may_launch(recipe: str, results: Sequence[Result], *, as_json: bool) -> bool:
    """Whether a launch of the recipe may follow this teardown; tells it if that is not clear.

    Memory that is not back does not matter: days after the launch others may use it, and the next
    launch measures what it needs.
    """
    bad = [result for result in results if not result.status.good]
    clear = all(
        result.error is not None and result.error.code == teardown_check.NOT_BACK for result in bad
    )
    hosts = ", ".join(dict.fromkeys(result.host for result in bad))
    if not clear:
        said = f"{recipe} was not launched: the teardown is not complete"
    else:
        said = (
            f"nothing of {recipe} is left on {hosts}, though less memory is available: the launch "
            "goes on, and measures what it needs"
        )
    if bad and not as_json:
        say(said)
    return clear


def _tell(active: Active, results: list[Result], code: int) -> None:
    away = {Status.UNKNOWN, Status.UNREACHABLE}
    unknown = dict.fromkeys(
        result.host
        for result in results
        if result.status in away and (result.error is None or not result.error.code)
    )
    for name in unknown:
        active.say(
            f"unknown: {name} was not reached; what runs there may still run. "
            f"Run `spark-cluster teardown --resume` when it answers (--wait MINUTES waits for it)."
        )
    if code == 0:
        what = active.request.options.recipe or "ours"
        active.say(f"nothing of {what} runs on {', '.join(active.session.alive)}")


def _known_recipe(request: Request, active: Active, plan: Plan) -> None:
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
