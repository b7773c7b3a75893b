"""`spark-cluster relaunch`: take down what runs, and launch the same again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    DryRunOption,
    InventoryOption,
    JsonOption,
    SetOption,
    VerboseOption,
    not_empty,
)
from spark_cluster.cli.terminal import say, say_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spark_cluster.core.error import SparkError
    from spark_cluster.facts.base import Facts
    from spark_cluster.facts.docker import ContainersFact
    from spark_cluster.inventory.models import Inventory


def register(app: typer.Typer) -> None:
    app.command("relaunch")(relaunch)


def relaunch(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE]", help="Recipe name or .yaml file; default: the one that is launched."
        ),
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Collect evidence first, as `evidence` does.")
    ] = False,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Launch what is running again, on the same hosts with the same choices.

    It is taken down first, but not before all that the launch needs was seen to be there.
    """

    from spark_cluster.actions.checking import obstacles
    from spark_cluster.actions.deploying import Choices, load_recipe
    from spark_cluster.actions.running import load_inventory
    from spark_cluster.actions.taking_down import may_launch, take_down, teardown_request
    from spark_cluster.cli.commands.launch import launch_request, serve
    from spark_cluster.core.error import CheckFailed, Unreachable
    from spark_cluster.core.result import exit_code
    from spark_cluster.places import short
    from spark_cluster.workload.launched import choose, launched, others

    recipe = not_empty(recipe)
    loaded = load_inventory(inventory)
    named = load_recipe(loaded, recipe, Choices(anyway=True)).name if recipe else ""
    facts, away = look(loaded)
    found = launched(facts)
    if away and not any(each.recipe == (named or each.recipe) for each in found):
        raise _nothing_seen(recipe, away, none_answers=not facts)
    before = choose(found, named)
    name = recipe or before.recipe
    lost = [host for host in before.group if host not in facts]
    if lost:
        reasons = [
            away[host].message if host in away else f"{host} is not in {short(loaded.path)}"
            for host in lost
        ]
        raise Unreachable(
            f"{before.recipe} runs on {', '.join(before.group)}, and not all of them can be read: "
            f"{'; '.join(reasons)}; nothing was changed",
            remedy=f"Bring it back, or serve without it: "
            f"`spark-cluster failover {name} --without {','.join(lost)}`.",
        )
    choices = Choices(
        None,
        before.profile,
        before.options,
        anyway=True,
        hosts=before.group,
        restart_at_boot=before.restarts or None,
    )
    request = launch_request(
        loaded, name, choices, settings or (), as_json=as_json, verbose=verbose
    )
    own = [each for each in found if each.recipe == before.recipe]
    missing = [
        *others(found, own, before.recipe, before.group),
        *obstacles(request, before.group),
    ]
    if missing:
        raise CheckFailed(
            f"{before.recipe} could not be launched again, nothing was changed: "
            + "; ".join(missing),
            remedy="Mend that first; what runs goes on.",
        )
    assert request.deployment is not None
    digests = {spec.host: spec.digest for spec in request.deployment.containers}
    differs = any(digests[host] != digest for host, digest in before.hosts.items())
    if as_json:
        line = {"recipe": before.recipe, "hosts": list(before.group), "settings_differ": differs}
        say_json({"kind": "relaunch", **line})
    else:
        say(f"relaunch of {before.recipe} on {', '.join(before.group)}: down, then up again")
        if differs:
            say("  with other settings than now: the recipe, or spark-cluster, has changed")
    if dry_run:
        return 0
    if evidence:
        collect(loaded, before.group, as_json=as_json)
    _, results = take_down(
        teardown_request(
            loaded, list(before.group), recipe=before.recipe, as_json=as_json, verbose=verbose
        )
    )
    if not may_launch(before.recipe, results, as_json=as_json):
        return exit_code(results)
    return serve(request, name)


def _nothing_seen(
    recipe: str | None, away: Mapping[str, SparkError], *, none_answers: bool
) -> SparkError:
    """The error for a launch that no host that answers knows: those that are away may."""
    from spark_cluster.core.error import Unreachable

    without = f", or `spark-cluster failover {recipe or 'RECIPE'} --without {','.join(away)}`"
    return Unreachable(
        f"what is launched cannot be read: {'; '.join(error.message for error in away.values())}; "
        "nothing was changed",
        remedy=f"Bring {'it' if len(away) == 1 else 'them'} back{'' if none_answers else without}; "
        "`spark-cluster history` names what was launched from here.",
    )


def look(inventory: Inventory) -> tuple[dict[str, Facts], dict[str, SparkError]]:
    """What is launched on each host of the inventory, and the errors of those that are away."""
    from spark_cluster.actions import remedies
    from spark_cluster.actions.running import read_hosts
    from spark_cluster.core.error import SparkError, StateUnknown
    from spark_cluster.facts.docker import CONTAINERS
    from spark_cluster.facts.supervisor import SUPERVISOR

    read = read_hosts(inventory, list(inventory.hosts), (CONTAINERS, SUPERVISOR))
    facts = {name: found for name, found in read.items() if not isinstance(found, SparkError)}
    away = {name: found for name, found in read.items() if isinstance(found, SparkError)}
    for name in [name for name, found in facts.items() if _unknown(found[CONTAINERS])]:
        what = "; ".join(facts.pop(name)[CONTAINERS].unread)
        away[name] = StateUnknown(f"{name}: {what}", host=name, remedy=remedies.DOCKER)
    return facts, away


def _unknown(fact: ContainersFact) -> bool:
    """Whether nothing of ours is known there, and something that nobody could read is."""
    return bool(fact.unread) and not fact.containers


def collect(inventory: Inventory, hosts: tuple[str, ...], *, as_json: bool) -> None:
    """`evidence` of these hosts; one that hangs does not keep the rest from going on."""
    from spark_cluster.cli.commands.evidence import evidence

    evidence(
        since="", output=None, inventory=str(inventory.path), hosts=list(hosts), as_json=as_json
    )
