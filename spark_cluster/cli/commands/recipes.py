"""`spark-cluster recipes`: what can be served and why it is set up so; does it fit, is it sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    InventoryOption,
    JsonOption,
    PpOption,
    ProfileOption,
    WithOption,
    split,
)
from spark_cluster.cli.sections import Group
from spark_cluster.cli.terminal import say, say_json

if TYPE_CHECKING:
    from pathlib import Path

    from spark_cluster.inventory.models import Inventory
    from spark_cluster.recipes.lint_finding import Finding

app = typer.Typer(cls=Group, help="List, show, fit and check the recipes.", rich_markup_mode=None)

RecipeArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="Recipe name or .yaml file, also in sparkrun's format."),
]


@app.callback(invoke_without_command=True)
def list_recipes(
    context: typer.Context, inventory: InventoryOption = None, as_json: JsonOption = False
) -> int:
    """List the recipes; show one, see whether it fits, or check it. Exit 2 if one is broken."""
    if context.invoked_subcommand is not None:
        return 0

    from spark_cluster.cli.views import recipes as view
    from spark_cluster.core.error import InputError
    from spark_cluster.recipes import loader

    own = _own(_inventory(inventory))
    known = loader.known(own)
    rows, broken = [], {}
    for name in sorted(known):
        try:
            rows.append(loader.load(name, own))
        except InputError as error:
            broken[name] = error
    if as_json:
        faults = [
            {"name": name, "path": str(known[name]), "error": error.as_dict()}
            for name, error in broken.items()
        ]
        say_json([*map(view.summary, rows), *faults])
    else:
        for line in (*view.listed(rows), *view.faults(broken)):
            say(line)
    return 2 if broken else 0


@app.command("show")
def show(
    name: RecipeArgument, inventory: InventoryOption = None, as_json: JsonOption = False
) -> None:
    """Show a recipe with the reason for every argument and variable."""

    from spark_cluster.cli.views import recipes as view
    from spark_cluster.recipes.loader import load
    from spark_cluster.recipes.secret_names import masked

    recipe = load(name, _own(_inventory(inventory)))
    if as_json:
        shown = masked(recipe).model_dump(mode="json")
        say_json({**shown, "path": str(recipe.path)})
        return
    for line in view.shown(recipe):
        say(line)


@app.command("fit")
def fit(
    name: RecipeArgument,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--hosts",
            metavar="NAME",
            help="Read these hosts or groups (repeatable, comma-separated).",
        ),
    ] = None,
    profile: ProfileOption = None,
    options: WithOption = None,
    pp: PpOption = False,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> int:
    """Estimate the memory: weights, KV cache, tokens. Exit 4 if it does not fit, 3 if unknown."""

    from spark_cluster.actions.deploying import Choices, chosen_options, load_recipe
    from spark_cluster.cli.views import recipes as view
    from spark_cluster.cli.views.fit import nominal, on_hosts

    loaded = _inventory(inventory)
    chosen = chosen_options(options, pp=pp, debug=False, dual_rail=False)
    choices = Choices(profile=profile, options=chosen, anyway=True)
    recipe = load_recipe(loaded, name, choices)
    names = split(hosts)
    result = on_hosts(loaded, recipe, names) if names else nominal(recipe)
    if as_json:
        say_json(view.fit_data(recipe, result, names or []))
    else:
        for line in view.fitted(recipe, result, is_nominal=not names):
            say(line)
    return view.FIT_EXIT[result.verdict]


@app.command("lint")
def lint(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECIPE]...", help="Recipe names or files; default: all."),
    ] = None,
    inventory: InventoryOption = None,
    as_json: JsonOption = False,
) -> int:
    """Check recipes against their engine's version and against RDMA. Exit 2 on an error."""

    from spark_cluster.cli.views import recipes as view
    from spark_cluster.recipes import loader

    own = _own(_inventory(inventory))
    chosen = names or sorted(loader.known(own))
    found = [(name, place, finding) for name in chosen for place, finding in _linted(name, own)]
    errors = sum(finding.is_error for _, _, finding in found)
    if as_json:
        rows = [view.finding_data(*row) for row in found]
        say_json({"recipes": chosen, "findings": rows, "errors": errors})
    else:
        for line in view.linted(chosen, found):
            say(line)
    return 2 if errors else 0


def _linted(name: str, own: dict[str, Path]) -> list[tuple[str, Finding]]:
    """Each finding with file and line. A recipe that cannot be read is one more finding."""
    from spark_cluster.core.error import InputError
    from spark_cluster.recipes import lint as rules
    from spark_cluster.recipes import loader
    from spark_cluster.recipes.lint_finding import error as problem

    try:
        recipe = loader.load(name, own)
    except InputError as error:
        said = problem((), error.code or "RECIPE005", error.message, error.remedy)
        return [(error.place or name, said)]
    found = [*rules.lint(recipe), *rules.lint_overlays(recipe)]
    return [(loader.place(recipe, finding.loc), finding) for finding in found]


def _inventory(given: str | None) -> Inventory:
    from spark_cluster.cli.running import load_inventory

    return load_inventory(given)


def _own(inventory: Inventory) -> dict[str, Path]:
    from spark_cluster.recipes.loader import own_recipes

    return own_recipes(inventory.path, inventory.recipes)
