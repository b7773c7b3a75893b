"""`spark-cluster launch RECIPE`: serve a model, and say so only when a token came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    DebugOption,
    DryRunOption,
    DualRailOption,
    GroupOption,
    InventoryOption,
    JsonOption,
    PpOption,
    ProfileOption,
    SetOption,
    VerboseOption,
    WithOption,
)

if TYPE_CHECKING:
    from spark_cluster.actions.deploying import Choices
    from spark_cluster.actions.running import Active, Request
    from spark_cluster.inventory.models import Inventory
    from spark_cluster.recipes.models import Recipe

#: The steps after which the server is started and only waited for, and what each of them proves.
_VERDICT = "rdma-verdict"
_PROOFS = {
    "ready": "that the model is loaded and the server answers",
    "canary": "that the server gives a token",
    _VERDICT: "that its tokens travel by RDMA",
}

#: What --restart-at-boot and its opposite set in the playbook.
_RESTART = {True: ["restart-at-boot.state=on"], False: ["restart-at-boot.state=off"], None: []}


def register(app: typer.Typer) -> None:
    app.command("launch")(launch)


def launch(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe name or .yaml file.")],
    group: GroupOption = None,
    profile: ProfileOption = None,
    options: WithOption = None,
    pp: PpOption = False,
    dual_rail: DualRailOption = False,
    debug: DebugOption = False,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Launch even if the recipe is known to be broken or lint rejects it."
        ),
    ] = False,
    dry_run: DryRunOption = False,
    no_wait: Annotated[
        bool,
        typer.Option(
            "--no-wait", help="Return once the server is started, without waiting for a token."
        ),
    ] = False,
    restart_at_boot: Annotated[
        bool | None,
        typer.Option(
            "--restart-at-boot/--no-restart-at-boot",
            help="Restart the ranks after a reboot or when one ends; "
            "default: as in the last launch of this recipe. Removed by teardown.",
            show_default=False,
        ),
    ] = None,
    inventory: InventoryOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Serve a model on a group of hosts. Ready only when a real token came back."""
    from spark_cluster.actions.deploying import Choices, chosen_options
    from spark_cluster.actions.running import load_inventory

    loaded = load_inventory(inventory)
    names = chosen_options(options, pp=pp, debug=debug, dual_rail=dual_rail)
    choices = Choices(group, profile, names, anyway, restart_at_boot=restart_at_boot)
    request = launch_request(
        loaded, recipe, choices, settings or (), as_json=as_json, verbose=verbose
    )
    return serve(request, recipe, dry_run=dry_run, no_wait=no_wait)


def serve(request: Request, name: str, *, dry_run: bool = False, no_wait: bool = False) -> int:
    """Carry the launch out; `name` is what the user calls it. The exit code."""
    from spark_cluster.actions.running import activate, refuse
    from spark_cluster.cli.commands.verify_rdma import judged
    from spark_cluster.cli.verbs import show_plan
    from spark_cluster.core.error import Interrupted
    from spark_cluster.serving.apis import APIS

    deployment = request.deployment
    assert deployment is not None
    with activate(request, journal=not dry_run) as active:
        proofs = [step for step in _PROOFS if step != _VERDICT or len(deployment.hosts) > 1]
        unproven = active.run.playbook.lacks(proofs)
        if no_wait:
            active.run.leave_out(tuple(_PROOFS))
        plan = active.run.plan()
        if dry_run:
            return show_plan(active, plan, commands=request.verbose)
        refused = refuse(active, plan)
        if refused:
            active.say("Nothing was started: what stands above is in the way.")
            _warn_of_boots(active, name)
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
        address = f"http://{api_address(request.inventory, deployment.head, deployment.port)}"
        endpoint = address + APIS[deployment.api].root
        model = deployment.client_model
        restarts = _comes_back(active)
        data = {
            "endpoint": endpoint,
            "model": model,
            "already_up": was_up,
            "restarts_at_boot": bool(restarts),
            "not_verified": list(proofs if no_wait else unproven),
        }
        verdict = judged(active, results)
        code = active.finish(results, data={**data, **verdict})
        if code == 0:
            active.say(f"{name} is {_state(was_up, no_wait, unproven)}: {endpoint}")
            for step in () if no_wait else unproven:
                active.say(f"not verified: {_PROOFS[step]}; the playbook has no step {step}")
            chat = address + APIS[deployment.api].chat
            active.say(curl_line(chat, model, has_key=deployment.containers[0].has_key))
            if restarts:
                active.say(
                    f"restarts at boot on {', '.join(restarts)}, and when a rank ends, until "
                    "`spark-cluster teardown`"
                )
            if len(deployment.hosts) > 1:
                more = " --watch" if verdict else ""
                active.say(f"next: spark-cluster verify-rdma{more}")
        elif verdict:
            active.say(f"{name} is up and answers: {endpoint}")
            active.say("Its tokens do not travel by RDMA as they should: see the verdict above.")
        else:
            active.say(
                "The containers are left as they are, for their logs. "
                "`spark-cluster teardown` removes them."
            )
        if code != 0:
            _warn_of_boots(active, name)
        return code


def _state(was_up: bool, no_wait: bool, unproven: Sequence[str]) -> str:
    """What may be said of a launch that ended well."""
    if no_wait:
        return "already up" if was_up else "started, not yet ready"
    if not unproven:
        return "already up" if was_up else "ready"
    answers = not {"ready", "canary"} & set(unproven)
    said = "ready" if answers else "started"
    return f"{'already up' if was_up else said}, but not verified"


def _warn_of_boots(active: Active, name: str) -> None:
    """A launch that was to have its ranks started again at boot, and did not come so far."""
    wanted = set(_RESTART[True]) <= set(active.request.settings)
    if wanted and not _comes_back(active):
        active.say(f"nothing starts {name} again at boot until a launch with --restart-at-boot")


def _comes_back(active: Active) -> list[str]:
    """The hosts that start their rank again, by the last reading."""
    from spark_cluster.facts.supervisor import SUPERVISOR

    views = [active.run.view(name) for name in active.session.alive]
    return [
        view.name for view in views if SUPERVISOR in view.facts and view.facts[SUPERVISOR].enabled
    ]


def launch_request(
    inventory: Inventory,
    name: str,
    choices: Choices,
    settings: Sequence[str],
    *,
    as_json: bool,
    verbose: bool,
) -> Request:
    """Load the recipe, place it on the group, make the deployment. Raises InputError."""
    from spark_cluster.actions.deploying import deploy, lint_notes, load_recipe, placement_of
    from spark_cluster.actions.running import Request
    from spark_cluster.runner.journal import new_run

    recipe = load_recipe(inventory, name, choices)
    run = new_run()
    deployment, members = deploy(inventory, recipe, choices, run)
    return Request(
        verb="launch",
        playbook="launch",
        hosts=list(members),
        inventory=inventory,
        settings=[*_RESTART[choices.restart_at_boot], *settings],
        deployment=deployment,
        note=_note(recipe, choices),
        warnings=lint_notes(recipe, placement_of(inventory, recipe, choices)),
        as_json=as_json,
        verbose=verbose,
        run=run,
    )


def _note(recipe: Recipe, choices: Choices) -> str | None:
    """What of the recipe one should know when it is launched."""
    from spark_cluster.places import short

    parts = []
    if len(recipe.chain) > 1:
        parts.append(f"recipe {short(recipe.path)} extends {short(recipe.chain[1])}")
    if choices.profile:
        parts.append(f"profile {choices.profile}: {recipe.profiles[choices.profile].why}")
    parts += [f"{name}: {recipe.options[name].why}" for name in choices.options]
    parts += [text for text in (recipe.note, recipe.known_broken) if text]
    return "; ".join(parts) or None


def api_address(inventory: Inventory, head: str, port: int) -> str:
    """`address:port` where clients reach the head: the inventory's `api`, a link, or a rail."""
    host = inventory.hosts[head]
    if host.api:
        return host.api
    if host.interfaces:
        first = host.links[0] if host.links else host.interfaces[0]
        return f"{first.ip}:{port}"
    return f"{inventory.reachable_address(head)}:{port}"


def curl_line(url: str, model: str, *, has_key: bool) -> str:
    """A request to try; the key, if there is one, is for the reader's shell to put in."""
    from spark_cluster.serving.api import API_KEY

    body = '{"model": "%s", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 32}'
    key = f' -H "Authorization: Bearer ${API_KEY}"' if has_key else ""
    return f"  curl {url}{key} -H 'Content-Type: application/json' -d '{body % model}'"
