"""`spark-cluster launch RECIPE`: serve a model, and say so only when a token came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    DryRunOption,
    GroupOption,
    InventoryOption,
    JsonOption,
    SetOption,
    VerboseOption,
)

if TYPE_CHECKING:
    from spark_cluster.cli.running import Request
    from spark_cluster.inventory.models import Inventory

#: The steps after which the server is started and only waited for.
_WAITS = ("ready", "canary")


def register(app: typer.Typer) -> None:
    app.command("launch")(launch)


def launch(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A name, or a .yaml file.")],
    group: GroupOption = None,
    dry_run: DryRunOption = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Return once the server is started.")
    ] = False,
    inventory: InventoryOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Serve a model on a group of hosts; ready only when a real token came back."""
    from spark_cluster.cli.running import activate, load_inventory, refuse
    from spark_cluster.cli.verbs import show_plan
    from spark_cluster.core.error import Interrupted

    loaded = load_inventory(inventory)
    request = launch_request(
        loaded, recipe, group, settings or (), as_json=as_json, verbose=verbose
    )
    deployment = request.deployment
    assert deployment is not None
    with activate(request, journal=not dry_run) as active:
        if no_wait:
            active.run.leave_out(_WAITS)
        plan = active.run.plan()
        if dry_run:
            return show_plan(active, plan, commands=verbose)
        refused = refuse(active, plan)
        if refused:
            active.say("Nothing was started: what stands above is in the way.")
            return active.finish(refused)
        was_up = plan.change_count == 0
        try:
            results = active.run.apply(plan)
        except Interrupted as error:
            error.remedy = (
                "What was started goes on. `spark-cluster launch` again follows it, "
                "`spark-cluster teardown` removes it."
            )
            raise
        api = api_address(loaded, deployment.head, deployment.port)
        data = {"endpoint": f"http://{api}/v1", "model": deployment.model, "already_up": was_up}
        code = active.finish(results, data=data)
        if code == 0:
            state = "started, not yet ready" if no_wait else "ready"
            active.say(f"{recipe} is {'already up' if was_up else state}: http://{api}/v1")
            active.say(_curl(api, deployment.model))
            active.say("next: spark-cluster verify-rdma")
        else:
            active.say(
                "The containers are left as they are, for their logs. "
                "`spark-cluster teardown` removes them."
            )
        return code


def launch_request(
    inventory: Inventory,
    name: str,
    group: str | None,
    settings: Sequence[str],
    *,
    as_json: bool,
    verbose: bool,
) -> Request:
    """Load the recipe, place it on the group, make the deployment. Raises InputError."""
    from spark_cluster.cli.running import Request
    from spark_cluster.engines.placement import place
    from spark_cluster.engines.table import ENGINES
    from spark_cluster.inventory import loader as inventories
    from spark_cluster.places import short
    from spark_cluster.recipes import loader as recipes
    from spark_cluster.runner.journal import new_run

    own = recipes.own_recipes(inventory.path, inventory.recipes)
    recipe = recipes.load(name, own)
    group_name, members = inventories.group(inventory, group)
    placement = place(recipe, inventory, group_name, members)
    run = new_run()
    deployment = ENGINES[recipe.engine](recipe, placement, run, recipes.file_contents(recipe))
    note = None
    if len(recipe.chain) > 1:
        note = f"recipe {short(recipe.path)} extends {short(recipe.chain[1])}" + (
            f": {recipe.note}" if recipe.note else ""
        )
    return Request(
        verb="launch",
        playbook="launch",
        hosts=list(members),
        inventory=inventory,
        settings=settings,
        deployment=deployment,
        note=note,
        as_json=as_json,
        verbose=verbose,
        run=run,
    )


def api_address(inventory: Inventory, head: str, port: int) -> str:
    """`address:port` where clients reach the head: the inventory's `api`, a link, or a rail."""
    host = inventory.hosts[head]
    if host.api:
        return host.api
    if host.interfaces:
        first = host.links[0] if host.links else host.interfaces[0]
        return f"{first.ip}:{port}"
    return f"{inventory.reachable_address(head)}:{port}"


def _curl(api: str, model: str) -> str:
    body = '{"model": "%s", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 32}'
    return (
        f"  curl http://{api}/v1/chat/completions -H 'Content-Type: application/json' "
        f"-d '{body % model}'"
    )
