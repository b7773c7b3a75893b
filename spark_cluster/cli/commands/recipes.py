"""`spark-cluster recipes`: what can be served and why it is set up so; does it fit, is it sound."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import PpOption, ProfileOption, Where, WithOption, split
from spark_cluster.cli.output import Json
from spark_cluster.cli.sections import Verbs

app = Verbs("recipes", "List, show, fit and check the recipes.", no_args_is_help=False)

RecipeArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="Recipe name or .yaml file, also in sparkrun's format."),
]


FitHostsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--hosts", metavar="NAME", help="Read these hosts or groups (repeatable, comma-separated)."
    ),
]


@app.callback(invoke_without_command=True)
@grouped
def list_recipes(context: typer.Context, *, where: Where, output: Json) -> int:
    """List the recipes; show one, see whether it fits, or check it. Exit 2 if one is broken."""
    if context.invoked_subcommand is not None:
        return 0
    from spark_cluster.actions import recipes
    from spark_cluster.cli.views.recipes import listed

    return output.report(recipes.catalog(where.load()), listed)


@app.verb()
def show(name: RecipeArgument, *, where: Where, output: Json) -> None:
    """Show a recipe with the reason for every argument and variable."""
    from spark_cluster.actions import recipes
    from spark_cluster.cli.views.recipes import shown

    found = recipes.show(where.load(), name)
    output.report(found, shown)


@app.verb()
def fit(
    name: RecipeArgument,
    *,
    hosts: FitHostsOption = None,
    profile: ProfileOption = None,
    options: WithOption = None,
    pp: PpOption = False,
    where: Where,
    output: Json,
) -> int:
    """Estimate the memory: weights, KV cache, tokens. Exit 4 if it does not fit, 3 if unknown."""
    from spark_cluster.actions import recipes
    from spark_cluster.actions.deploying import Choices, chosen_options
    from spark_cluster.cli.views.recipes import fitted

    choices = Choices(profile=profile, options=chosen_options(options, pp=pp), anyway=True)
    act = partial(recipes.fit, where.load(), name, choices, split(hosts) or ())
    return output.look(act, fitted)


@app.verb()
def lint(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="RECIPE", help="Recipe names or files; default: all."),
    ] = None,
    *,
    where: Where,
    output: Json,
) -> int:
    """Check recipes against their engine's version and against RDMA. Exit 2 on an error."""
    from spark_cluster.actions import recipes
    from spark_cluster.cli.views.recipes import linted

    return output.report(recipes.lint(where.load(), names or ()), linted)
