"""Serve a recipe on the hosts that are left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from spark_cluster.actions.checking import obstacles
from spark_cluster.actions.deploying import Choices, load_recipe, placed
from spark_cluster.actions.events import Candidate, FailingOver
from spark_cluster.actions.installed import look
from spark_cluster.actions.launch import launch, launch_request
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Outcome
from spark_cluster.actions.teardown import may_launch, take_down, teardown_request
from spark_cluster.core.error import CheckFailed, InputError, SparkError, Unreachable
from spark_cluster.core.result import Result, exit_code
from spark_cluster.core.units import count
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes.models import Recipe
from spark_cluster.runner.request import RunRequest
from spark_cluster.workload.launched import launched, others, to_take_down


@dataclass(frozen=True)
class _Examined:
    """Hosts that were looked at; `away`: one of them does not answer. Without `request` they were
    not read."""

    hosts: tuple[str, ...]
    missing: tuple[str, ...]
    request: RunRequest | None = None
    away: bool = False


def failover(
    inventory: Inventory,
    recipe: str,
    avoided: Sequence[str],
    operator: Operator,
    *,
    profile: str | None = None,
    options: Sequence[str] = (),
    settings: Sequence[str] = (),
    dry_run: bool = False,
) -> Outcome:
    """Serve a recipe without the hosts `avoided`: on the first that have fabric, image, model and
    memory for it. What is left of it is taken down first.

    Raises CheckFailed, Unreachable or InputError if no hosts can carry it: nothing was changed.
    """
    choices = Choices(None, profile, tuple(options), anyway=True)
    name = load_recipe(inventory, recipe, choices).name
    facts, away = look(inventory, operator)
    found = launched(facts)
    ended = to_take_down(found, name, avoided)
    if ended and not profile and not options:
        choices = replace(
            choices,
            profile=ended[0].profile,
            options=ended[0].options,
            overrides=ended[0].overrides,
        )
    chosen_recipe = load_recipe(inventory, recipe, choices)
    if any(each.restarts for each in ended):
        choices = replace(choices, restart_at_boot=True)
    ranks = [host for host in inventory.hosts if any(host in each.hosts for each in ended)]

    def examine(hosts: tuple[str, ...]) -> _Examined:
        """Can they carry it: by the inventory's cables, then by a reading of the hosts."""
        try:
            placed(inventory, chosen_recipe, ", ".join(hosts), hosts, anyway=choices.anyway)
        except InputError as error:
            return _Examined(hosts, (f"no fabric: {error.message}",))
        gone = tuple(f"{host} is away: {away[host].message}" for host in hosts if host in away)
        if gone:
            return _Examined(hosts, gone, away=True)
        request = launch_request(inventory, recipe, replace(choices, hosts=hosts), settings)
        taken = others(found, ended, chosen_recipe.name, hosts)
        return _Examined(hosts, (*taken, *obstacles(request, ranks, operator)), request)

    rejected: list[_Examined] = []
    for hosts in candidates(inventory, chosen_recipe, avoided):
        chosen = examine(hosts)
        if not chosen.missing:
            break
        rejected.append(chosen)
    else:
        raise _nobody(chosen_recipe, avoided, rejected)
    lost = [host for host in avoided if host in away or any(each.meets([host]) for each in ended)]
    doomed = tuple(host for host in inventory.hosts if host in (*ranks, *lost))
    operator.listener(
        FailingOver(
            name,
            tuple(avoided),
            chosen.hosts,
            doomed,
            bool(ended or not away.keys() & set(avoided)),
            tuple(Candidate(each.hosts, each.missing) for each in rejected),
        )
    )
    if dry_run:
        return Outcome(0)
    results = _clear(inventory, name, doomed, avoided, operator)
    if not may_launch(name, results, operator):
        return Outcome(exit_code(results), tuple(results))
    assert chosen.request is not None
    return launch(chosen.request, recipe, operator)


def candidates(
    inventory: Inventory, recipe: Recipe, avoided: Collection[str]
) -> Iterator[tuple[str, ...]]:
    """Groups of the inventory of the right size first, then any other hosts, in its order."""
    left = [name for name in inventory.hosts if name not in avoided]
    seen: set[frozenset[str]] = set()
    for hosts in (*inventory.groups.values(), *combinations(left, recipe.nodes)):
        whole = frozenset(hosts)
        if len(hosts) == recipe.nodes and whole <= set(left) and whole not in seen:
            seen.add(whole)
            yield hosts


def _nobody(recipe: Recipe, avoided: Sequence[str], rejected: Sequence[_Examined]) -> SparkError:
    if not rejected:
        return InputError(
            f"{recipe.name} needs {count(recipe.nodes, 'host')}, and so many are not left without "
            f"{', '.join(avoided)}",
            remedy="Choose a recipe for fewer hosts: `spark-cluster recipes` lists them.",
        )
    lacks = "; ".join(
        f"{', '.join(each.hosts)}: {why}" for each in rejected for why in each.missing
    )
    what = f"no hosts can carry {recipe.name} without {', '.join(avoided)}; nothing was changed: "
    if any(each.away for each in rejected) and not any(each.request for each in rejected):
        return Unreachable(
            what + lacks, remedy="Bring back hosts that are away, then run it again."
        )
    return CheckFailed(what + lacks, remedy="Mend what the hosts lack, then run it again.")


def _clear(
    inventory: Inventory,
    name: str,
    doomed: Sequence[str],
    avoided: Collection[str],
    operator: Operator,
) -> list[Result]:
    """Take the rest down; its results. What happens on a host to do without does not count, but
    the journal has it for `teardown --resume`."""
    if not doomed:
        return []
    try:
        done = take_down(teardown_request(inventory, doomed, recipe=name), operator)
    except Unreachable:
        if set(doomed) <= set(avoided):
            return []
        raise
    return [result for result in done.results if result.host not in avoided]
