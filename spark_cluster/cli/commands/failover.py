"""`spark-cluster failover`: serve a recipe on the hosts that are left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    DryRunOption,
    InventoryOption,
    JsonOption,
    ProfileOption,
    SetOption,
    VerboseOption,
    WithOption,
    split,
)
from spark_cluster.cli.terminal import say, say_json

if TYPE_CHECKING:
    from spark_cluster.actions.deploying import Choices
    from spark_cluster.actions.running import Request
    from spark_cluster.core.error import SparkError
    from spark_cluster.core.result import Result
    from spark_cluster.inventory.models import Inventory
    from spark_cluster.recipes.models import Recipe
    from spark_cluster.workload.launched import Launched


def register(app: typer.Typer) -> None:
    app.command("failover")(failover)


@dataclass(frozen=True)
class Candidate:
    """Hosts that might carry the recipe, head first, and what they lack for it; `away`: one of
    them does not answer. Without `request` they were not read."""

    hosts: tuple[str, ...]
    missing: tuple[str, ...]
    request: Request | None = None
    away: bool = False

    def as_dict(self) -> dict[str, object]:
        return {"hosts": list(self.hosts), "missing": list(self.missing)}


def failover(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe name or .yaml file.")],
    without: Annotated[
        list[str],
        typer.Option(
            "--without", metavar="HOST", help="Hosts to avoid (repeatable, comma-separated)."
        ),
    ],
    profile: ProfileOption = None,
    options: WithOption = None,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Serve a recipe on other hosts.

    Chooses the first that have fabric, image, model and memory for it. Takes down what is left of
    it, then launches. If no hosts can carry it, says what each lacks and changes nothing.
    """
    from spark_cluster.actions.deploying import load_recipe
    from spark_cluster.actions.running import load_inventory
    from spark_cluster.actions.taking_down import may_launch
    from spark_cluster.cli.commands.launch import serve
    from spark_cluster.cli.commands.relaunch import look
    from spark_cluster.core.result import exit_code
    from spark_cluster.inventory.loader import select
    from spark_cluster.workload.launched import launched, to_take_down

    loaded = load_inventory(inventory)
    avoided = select(loaded, split(without, "--without"))
    choices = _choices(profile, split(options, "--with"))
    name = load_recipe(loaded, recipe, choices).name
    facts, away = look(loaded)
    found = launched(facts)
    ended = to_take_down(found, name, avoided)
    if ended and not profile and not options:
        choices = _choices(ended[0].profile, list(ended[0].options))
    chosen_recipe = load_recipe(loaded, recipe, choices)
    if any(each.restarts for each in ended):
        choices = replace(choices, restart_at_boot=True)
    ranks = [host for host in loaded.hosts if any(host in each.hosts for each in ended)]
    rejected: list[Candidate] = []
    chosen: Candidate | None = None
    for hosts in candidates(loaded, chosen_recipe, avoided):
        candidate = _examine(
            loaded, chosen_recipe, recipe, choices, hosts, found, ended, ranks, away,
            settings or [], as_json=as_json, verbose=verbose,
        )  # fmt: skip
        if not candidate.missing:
            chosen = candidate
            break
        rejected.append(candidate)
    if chosen is None:
        raise _nobody(chosen_recipe, avoided, rejected)
    lost = [host for host in avoided if host in away or any(each.meets([host]) for each in ended)]
    doomed = [host for host in loaded.hosts if host in (*ranks, *lost)]
    known = bool(ended or not away.keys() & set(avoided))
    _announce(name, avoided, rejected, chosen, doomed, known=known, as_json=as_json)
    if dry_run:
        return 0
    results = _clear(loaded, name, doomed, avoided, as_json=as_json, verbose=verbose)
    if not may_launch(name, results, as_json=as_json):
        return exit_code(results)
    assert chosen.request is not None
    return serve(chosen.request, recipe)


def candidates(
    inventory: Inventory, recipe: Recipe, avoided: list[str]
) -> Iterator[tuple[str, ...]]:
    """Groups of the inventory of the right size first, then any other hosts, in its order."""
    left = [name for name in inventory.hosts if name not in avoided]
    seen: set[frozenset[str]] = set()
    for hosts in (*inventory.groups.values(), *combinations(left, recipe.nodes)):
        whole = frozenset(hosts)
        if len(hosts) == recipe.nodes and whole <= set(left) and whole not in seen:
            seen.add(whole)
            yield hosts


def _choices(profile: str | None, options: list[str] | None) -> Choices:
    from spark_cluster.actions.deploying import Choices

    return Choices(None, profile, tuple(options or ()), anyway=True)


def _examine(
    inventory: Inventory,
    recipe: Recipe,
    name: str,
    choices: Choices,
    hosts: tuple[str, ...],
    found: list[Launched],
    ended: list[Launched],
    ranks: list[str],
    away: Mapping[str, SparkError],
    settings: list[str],
    *,
    as_json: bool,
    verbose: bool,
) -> Candidate:
    """Can these hosts carry it: by the inventory's cables, then by a reading of the hosts."""
    from spark_cluster.actions.checking import obstacles
    from spark_cluster.actions.deploying import placed
    from spark_cluster.cli.commands.launch import launch_request
    from spark_cluster.core.error import InputError
    from spark_cluster.workload.launched import others

    try:
        placed(inventory, recipe, ", ".join(hosts), hosts, anyway=choices.anyway)
    except InputError as error:
        return Candidate(hosts, (f"no fabric: {error.message}",))
    gone = tuple(f"{host} is away: {away[host].message}" for host in hosts if host in away)
    if gone:
        return Candidate(hosts, gone, away=True)
    there = replace(choices, hosts=hosts)
    request = launch_request(inventory, name, there, settings, as_json=as_json, verbose=verbose)
    assert request.deployment is not None
    taken = others(found, ended, recipe.name, hosts)
    return Candidate(hosts, (*taken, *obstacles(request, ranks)), request)


def _nobody(recipe: Recipe, avoided: list[str], rejected: list[Candidate]) -> SparkError:
    from spark_cluster.core.error import CheckFailed, InputError, Unreachable
    from spark_cluster.core.units import count

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
    return CheckFailed(
        what + lacks,
        remedy="Mend what the hosts lack, then run it again.",
    )


def _announce(
    name: str,
    avoided: list[str],
    rejected: list[Candidate],
    chosen: Candidate,
    doomed: list[str],
    *,
    known: bool,
    as_json: bool,
) -> None:
    """`known`: what was chosen at the last launch could be read from a host of its group."""
    if as_json:
        line = {
            "kind": "failover",
            "recipe": name,
            "without": avoided,
            "hosts": list(chosen.hosts),
            "takes_down": doomed,
            "choices_known": known,
            "rejected": [each.as_dict() for each in rejected],
        }
        say_json(line)
        return
    say(f"failover of {name} without {', '.join(avoided)}")
    for each in rejected:
        say(f"  not on {', '.join(each.hosts)}: {'; '.join(each.missing)}")
    if doomed:
        say(f"  takes down what is left of it on {', '.join(doomed)}")
    if not known:
        say(
            "  how it was launched cannot be read: it gets the recipe's defaults, or the --profile "
            "and --with that are given here, and no restart at boot"
        )
    head = f", head {chosen.hosts[0]}" if len(chosen.hosts) > 1 else ""
    say(f"  serves on {', '.join(chosen.hosts)}{head}: nothing is missing there")


def _clear(
    inventory: Inventory,
    name: str,
    doomed: list[str],
    avoided: list[str],
    *,
    as_json: bool,
    verbose: bool,
) -> list[Result]:
    """Take the rest down; its results. What happens on a host to do without does not count, but
    the journal has it for `teardown --resume`."""
    from spark_cluster.actions.taking_down import take_down, teardown_request
    from spark_cluster.core.error import Unreachable

    if not doomed:
        return []
    request = teardown_request(inventory, doomed, recipe=name, as_json=as_json, verbose=verbose)
    try:
        _, results = take_down(request)
    except Unreachable:
        if set(doomed) <= set(avoided):
            return []
        raise
    return [result for result in results if result.host not in avoided]
