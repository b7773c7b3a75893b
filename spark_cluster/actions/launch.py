"""Serve a recipe on a group of hosts; ready only when a real token came back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spark_cluster.actions.deploying import Choices, deploy, lint_notes, load_recipe, placement_of
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Active, Outcome, activate, planned, refuse
from spark_cluster.actions.verdict import about, verdict_of
from spark_cluster.core.error import Interrupted
from spark_cluster.core.event import as_json
from spark_cluster.core.plan import Override
from spark_cluster.core.shell import quote
from spark_cluster.facts.supervisor import SUPERVISOR
from spark_cluster.inventory.models import Inventory
from spark_cluster.places import short
from spark_cluster.rdma.verdict import Verdict
from spark_cluster.recipes.models import Recipe
from spark_cluster.runner.journal import new_run
from spark_cluster.runner.request import RunRequest
from spark_cluster.serving.apis import APIS

_VERDICT = "rdma-verdict"

#: The steps after which the server is started and only waited for.
PROOFS = ("ready", "canary", _VERDICT)


def launch_request(
    inventory: Inventory, name: str, choices: Choices, settings: Sequence[str] = ()
) -> RunRequest:
    """Load the recipe, place it on the group, make the deployment. Raises InputError."""
    recipe = load_recipe(inventory, name, choices)
    run = new_run()
    deployment, members = deploy(inventory, recipe, choices, run)
    return RunRequest(
        verb="launch",
        playbook="launch",
        hosts=list(members),
        inventory=inventory,
        settings=[*_restart(choices.restart_at_boot), *settings],
        deployment=deployment,
        note=_note(recipe, choices),
        warnings=lint_notes(recipe, placement_of(inventory, recipe, choices)),
        run=run,
    )


@dataclass(frozen=True)
class Serving:
    """What a launch started.

    endpoint      where clients reach the server; `chat`: where they ask for a chat
    model         the name that requests give
    has_key       it asks for an API key, which stays on its host
    hosts         the head first
    already_up    nothing had to be started
    waited        the launch waited for a token
    not_verified  the steps of PROOFS that did not run
    restarts_on   hosts that start their rank again at boot
    """

    endpoint: str
    chat: str
    model: str
    has_key: bool
    hosts: tuple[str, ...]
    already_up: bool
    waited: bool
    not_verified: tuple[str, ...]
    restarts_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class LaunchOutcome(Outcome):
    """`serving` is None where nothing was begun, `verdict` where there is none."""

    serving: Serving | None = None
    verdict: Verdict | None = None


def launch(
    request: RunRequest,
    name: str,
    operator: Operator,
    *,
    dry_run: bool = False,
    no_wait: bool = False,
    commands: bool = False,
) -> LaunchOutcome:
    """Carry a launch out; `name` is what the user calls the recipe.

    `no_wait`: return once the server is started, without waiting for a token. `commands`: a dry run
    tells the shell commands, too.
    """
    deployment = request.deployment
    assert deployment is not None
    with activate(request, operator, journal=not dry_run) as active:
        proofs = [step for step in PROOFS if step != _VERDICT or len(deployment.hosts) > 1]
        unproven = proofs if no_wait else active.run.playbook.lacks(proofs)
        if no_wait:
            active.run.leave_out(PROOFS)
        plan = active.run.plan()
        if dry_run:
            return LaunchOutcome(**vars(planned(active, plan, commands=commands)))
        refused = refuse(active, plan)
        if refused:
            data = {"begun": False, "name": name, **_restarts(request, _restart_hosts(active))}
            return LaunchOutcome(**vars(active.finish(refused, data=data)))
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
        serving = Serving(
            endpoint=address + APIS[deployment.api].root,
            chat=address + APIS[deployment.api].chat,
            model=deployment.client_model,
            has_key=deployment.containers[0].has_key,
            hosts=tuple(deployment.hosts),
            already_up=was_up,
            waited=not no_wait,
            not_verified=tuple(unproven),
            restarts_on=_restart_hosts(active),
        )
        judged = verdict_of(active, results)
        data = {"name": name, **as_json(serving), **_restarts(request, serving.restarts_on)}
        if judged is not None:
            active.listener(judged)
            data |= about(judged)
        outcome = active.finish(results, data=data)
        verdict = judged.verdict if judged is not None else None
        return LaunchOutcome(**vars(outcome), serving=serving, verdict=verdict)


def _restart(chosen: bool | None) -> list[Override]:
    """What --restart-at-boot and its opposite set; None leaves it as it is."""
    if chosen is None:
        return []
    state, typed = ("on", "--restart-at-boot") if chosen else ("off", "--no-restart-at-boot")
    return [Override("restart-at-boot", "state", state, typed)]


def _restart_hosts(active: Active) -> tuple[str, ...]:
    """The hosts that start their rank again, by the last reading."""
    return tuple(
        view.name
        for view in map(active.run.view, active.session.alive)
        if SUPERVISOR in view.facts and view.facts[SUPERVISOR].enabled
    )


def _restarts(request: RunRequest, hosts: Sequence[str]) -> dict[str, Any]:
    """Whether the ranks come back at boot, and whether they were to."""
    wanted = _restart(True)[0] in request.settings
    return {"restarts_at_boot": bool(hosts), "restarts_on": list(hosts), "wanted_restarts": wanted}


def _note(recipe: Recipe, choices: Choices) -> str | None:
    """What of the recipe one should know when it is launched."""
    parts = []
    if len(recipe.chain) > 1:
        parts.append(f"recipe {short(recipe.path)} extends {short(recipe.chain[1])}")
    if choices.profile:
        parts.append(f"profile {choices.profile}: {recipe.profiles[choices.profile].why}")
    parts += [f"{name}: {recipe.options[name].why}" for name in choices.options]
    if choices.overrides.label:
        parts.append(" ".join(quote(word) for word in choices.overrides.words()))
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
