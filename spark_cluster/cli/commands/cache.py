"""`spark-cluster cache`: what engines compiled and the hosts keep."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import Hosts, not_empty
from spark_cluster.cli.output import Json, Output
from spark_cluster.cli.sections import Verbs

app = Verbs("cache", "List and remove what engines compiled, kept for the next launch.")

OfRecipe = Annotated[
    str | None, typer.Argument(metavar="RECIPE", help="Limit to this recipe, by its name.")
]


@app.verb("ls")
def list_caches(recipe: OfRecipe = None, *, where: Hosts, output: Json) -> int:
    """Show what each host keeps, by recipe, rank and image."""
    from spark_cluster.actions import compiled
    from spark_cluster.cli.views.cache import lines

    act = partial(compiled.list_caches, *where.load_hosts(), recipe=not_empty(recipe))
    return output.look(act, lines)


@app.verb("rm")
def remove(
    recipe: OfRecipe = None,
    *,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only of images that the host has no more.")
    ] = False,
    where: Hosts,
    output: Output,
) -> int:
    """Remove what engines compiled; the next launch compiles again. What runs keeps its own."""
    from spark_cluster.actions import compiled

    hosts = where.load_hosts()
    act = partial(compiled.remove_caches, *hosts, recipe=not_empty(recipe), stale=stale)
    return output.act(act)
