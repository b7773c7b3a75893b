"""Take down what runs, and launch the same again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spark_cluster.actions.checking import obstacles
from spark_cluster.actions.deploying import Choices, load_recipe
from spark_cluster.actions.events import Relaunching
from spark_cluster.actions.evidence import collect
from spark_cluster.actions.installed import look
from spark_cluster.actions.launch import launch, launch_request
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Outcome
from spark_cluster.actions.teardown import may_launch, take_down, teardown_request
from spark_cluster.core.error import CheckFailed, SparkError, Unreachable
from spark_cluster.core.result import exit_code
from spark_cluster.inventory.models import Inventory
from spark_cluster.places import short
from spark_cluster.runner.request import RunRequest
from spark_cluster.workload.launched import Launched, choose, launched, others


@dataclass(frozen=True)
class Relaunch:
    """What runs, and the launch that is to follow it, which nothing stands against."""

    name: str
    before: Launched
    request: RunRequest

    @property
    def settings_differ(self) -> bool:
        """Whether the containers would not be those that run."""
        assert self.request.deployment is not None
        digests = {spec.host: spec.digest for spec in self.request.deployment.containers}
        return any(digests[host] != digest for host, digest in self.before.hosts.items())


def relaunch(
    inventory: Inventory,
    recipe: str | None,
    operator: Operator,
    *,
    settings: Sequence[str] = (),
    dry_run: bool = False,
    evidence: bool = False,
) -> Outcome:
    """Launch again what runs, on the same hosts with the same choices. It is taken down first, but
    not before all that the launch needs was seen to be there.

    Raises what `prepare` raises; with `evidence` what `actions.evidence.collect` raises.
    """
    found = prepare(inventory, recipe, operator, settings)
    before = found.before
    operator.listener(Relaunching(before.recipe, before.group, found.settings_differ))
    if dry_run:
        return Outcome(0)
    if evidence:
        collect(inventory, before.group, operator)
    down = take_down(teardown_request(inventory, before.group, recipe=before.recipe), operator)
    if not may_launch(before.recipe, down.results, operator):
        return Outcome(exit_code(list(down.results)), down.results)
    return launch(found.request, found.name, operator)


def prepare(
    inventory: Inventory, recipe: str | None, operator: Operator, settings: Sequence[str] = ()
) -> Relaunch:
    """What is to be launched again: the recipe that is named, or the only one that is launched.

    Raises CheckFailed if it is not launched, or could not be launched again; Unreachable if a host
    of it cannot be read; InputError for what is wrong in the recipe.
    """
    named = load_recipe(inventory, recipe, Choices(anyway=True)).name if recipe else ""
    facts, away = look(inventory, operator)
    found = launched(facts)
    if away and not any(each.recipe == (named or each.recipe) for each in found):
        raise _nothing_seen(recipe, away, none_answers=not facts)
    before = choose(found, named)
    name = recipe or before.recipe
    lost = [host for host in before.group if host not in facts]
    if lost:
        raise _lost(inventory, before, name, lost, away)
    choices = Choices(
        None,
        before.profile,
        before.options,
        anyway=True,
        hosts=before.group,
        restart_at_boot=before.restarts or None,
        overrides=before.overrides,
    )
    request = launch_request(inventory, name, choices, settings)
    own = [each for each in found if each.recipe == before.recipe]
    missing = [
        *others(found, own, before.recipe, before.group),
        *obstacles(request, before.group, operator),
    ]
    if missing:
        raise CheckFailed(
            f"{before.recipe} could not be launched again, nothing was changed: "
            + "; ".join(missing),
            remedy="Mend that first; what runs goes on.",
        )
    return Relaunch(name, before, request)


def _lost(
    inventory: Inventory,
    before: Launched,
    name: str,
    lost: Sequence[str],
    away: Mapping[str, SparkError],
) -> SparkError:
    reasons = [
        away[host].message if host in away else f"{host} is not in {short(inventory.path)}"
        for host in lost
    ]
    return Unreachable(
        f"{before.recipe} runs on {', '.join(before.group)}, and not all of them can be read: "
        f"{'; '.join(reasons)}; nothing was changed",
        remedy=f"Bring it back, or serve without it: "
        f"`spark-cluster failover {name} --without {','.join(lost)}`.",
    )


def _nothing_seen(
    recipe: str | None, away: Mapping[str, SparkError], *, none_answers: bool
) -> SparkError:
    """The error for a launch that no host that answers knows: those that are away may."""
    without = f", or `spark-cluster failover {recipe or 'RECIPE'} --without {','.join(away)}`"
    return Unreachable(
        f"what is launched cannot be read: {'; '.join(error.message for error in away.values())}; "
        "nothing was changed",
        remedy=f"Bring {'it' if len(away) == 1 else 'them'} back{'' if none_answers else without}; "
        "`spark-cluster history` names what was launched from here.",
    )
