"""From a recipe's name and the command line's choices to a deployment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from spark_cluster.core.error import InputError
from spark_cluster.core.labels import LABEL, RESTARTS
from spark_cluster.core.secret import Secret
from spark_cluster.engines import rings
from spark_cluster.engines.placement import Placement, place
from spark_cluster.engines.spec import Deployment
from spark_cluster.engines.table import ENGINES
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes import lint, ollama
from spark_cluster.recipes import loader as recipes
from spark_cluster.recipes.choose import choose
from spark_cluster.recipes.demand import BadArgument, Demand, of_recipe
from spark_cluster.recipes.models import Recipe
from spark_cluster.recipes.overrides import UNCHANGED, Overrides, override


@dataclass(frozen=True)
class Choices:
    """What the command line chose. `options` names those of the recipe, in the order given;
    `overrides` go over both;
    `anyway`: also a recipe that is known not to work. `hosts`, head first, serve in place of a
    group. `restart_at_boot`: None leaves it as the last launch of the recipe had it."""

    group: str | None = None
    profile: str | None = None
    options: tuple[str, ...] = ()
    anyway: bool = False
    hosts: tuple[str, ...] = ()
    restart_at_boot: bool | None = None
    overrides: Overrides = UNCHANGED


def chosen_options(
    named: list[str] | None, *, pp: bool = False, debug: bool = False, dual_rail: bool = False
) -> tuple[str, ...]:
    """`--with` and the flags of the options that most recipes have, as names."""
    flags = {"pp": pp, "dual-rail": dual_rail, "debug": debug}
    words = [name for value in named or () for name in value.split(",") if name]
    return (*words, *(name for name, is_on in flags.items() if is_on))


def load_recipe(inventory: Inventory, name: str, choices: Choices) -> Recipe:
    """The recipe with its profile and options. Raises InputError."""
    own = recipes.own_recipes(inventory.path, inventory.recipes)
    recipe = recipes.load(name, own)
    if recipe.known_broken and not choices.anyway:
        raise InputError(
            f"{recipe.name} is known not to work: {recipe.known_broken}",
            place=str(recipe.path),
            remedy="Launch another recipe, or try it all the same with --anyway.",
        )
    chosen = choose(recipe, choices.profile, choices.options)
    if chosen.mods and not choices.overrides.image:
        raise InputError(
            f"{recipe.name} needs an image that {', '.join(chosen.mods)} changed",
            place=recipes.place(recipe, ("mods",)),
            remedy=f"Run their run.sh in a container of {chosen.image}, keep that with `docker "
            "commit`, copy it by `spark-cluster image sync`, and launch with --image NAME.",
        )
    chosen = override(chosen, choices.overrides)
    lint.refuse(chosen, lambda loc: recipes.place(chosen, loc), anyway=choices.anyway)
    return chosen


def lint_notes(recipe: Recipe, placement: Placement | None = None) -> tuple[str, ...]:
    """What lint finds, a line each: warnings, and the errors that --anyway let pass. With a
    `placement` also what it means for a ring."""
    found = [*lint.lint(recipe), *(rings.findings(recipe, placement) if placement else ())]
    return tuple(
        f"lint: {finding.severity} {finding.code} at {place}: {finding.what}. {finding.remedy}"
        for finding in found
        for place in [recipes.place(recipe, finding.loc)]
    )


def placed(
    inventory: Inventory, recipe: Recipe, group: str, members: tuple[str, ...], *, anyway: bool
) -> Placement:
    """The recipe on these hosts. Raises InputError where it does not go there; with `anyway` not
    for an NCCL that is too old for a ring."""
    placement = place(recipe, inventory, group, members)
    rings.refuse_equal_ports(placement, str(inventory.path))
    errors = [one for one in rings.findings(recipe, placement) if one.is_error]
    if errors and not anyway:
        first = errors[0]
        raise InputError(
            first.what,
            place=recipes.place(recipe, first.loc),
            remedy=first.remedy,
            code=first.code,
        )
    return placement


def demand_of(recipe: Recipe) -> Demand:
    """Raises InputError for an argument that no engine would take."""
    if recipe.engine == "ollama":
        contents = recipes.file_contents(recipe)
        files = {entry.target: contents[entry.source] for entry in recipe.files}
        env = {name: choice.text for name, choice in recipe.env.items() if choice.value is not None}
        return ollama.demand(env, files.get(ollama.MODELFILE, ""))
    try:
        return of_recipe(recipe)
    except BadArgument as bad:
        raise InputError(
            str(bad),
            place=recipes.place(recipe, ("args", bad.name)),
            remedy="Correct the value.",
            code="RECIPE005",
        ) from bad


def deploy(
    inventory: Inventory, recipe: Recipe, choices: Choices, run: str
) -> tuple[Deployment, tuple[str, ...]]:
    """The deployment and its hosts, head first. Raises InputError."""
    demand_of(recipe)
    placement = placement_of(inventory, recipe, choices)
    members = tuple(host.name for host in placement.hosts)
    made = ENGINES[recipe.engine](recipe, placement, run, recipes.file_contents(recipe))
    wanted = {name for spec in made.containers for name in spec.secrets}
    made = replace(made, secret_values=handed_on(wanted, os.environ))
    return _remembering(made, choices), members


def placement_of(inventory: Inventory, recipe: Recipe, choices: Choices) -> Placement:
    """Where the choices put the recipe. Raises InputError."""
    group, members = _members(inventory, recipe, choices)
    return placed(inventory, recipe, group, members, anyway=choices.anyway)


def _remembering(made: Deployment, choices: Choices) -> Deployment:
    """With the choices in the labels, for a relaunch: what was not chosen has none."""
    labels = {
        f"{LABEL}.profile": choices.profile or "",
        f"{LABEL}.options": ",".join(dict.fromkeys(choices.options)),
        f"{LABEL}.overrides": choices.overrides.label,
        RESTARTS: "on" if choices.restart_at_boot else "",
    }
    chosen = {name: value for name, value in labels.items() if value}
    specs = (replace(spec, labels={**spec.labels, **chosen}) for spec in made.containers)
    return replace(made, containers=tuple(specs)) if chosen else made


def _members(inventory: Inventory, recipe: Recipe, choices: Choices) -> tuple[str, tuple[str, ...]]:
    """The group and its hosts. A recipe for one host goes to the host that is named, or to the
    head of the group."""
    if choices.hosts:
        return ", ".join(choices.hosts), choices.hosts
    name = choices.group
    if recipe.nodes == 1 and name is not None and name in inventory.hosts:
        return name, (name,)
    group, members = inventories.group(inventory, name)
    return group, members[:1] if recipe.nodes == 1 else members


def handed_on(names: set[str], environment: Mapping[str, str]) -> dict[str, Secret]:
    """The secrets that have a value here. Raises InputError for one that neither docker nor an
    HTTP header could hand on; a CR at its end would also hide it from what blacks out secrets."""
    found = {name: environment[name] for name in sorted(names) if environment.get(name)}
    for name, value in found.items():
        if "\n" in value or "\r" in value:
            raise InputError(
                f"{name} has more than one line",
                place="the environment",
                remedy=f"Set {name} to the token alone.",
            )
    return {name: Secret(value) for name, value in found.items()}
