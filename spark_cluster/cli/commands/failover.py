"""`spark-cluster failover`: serve a recipe on the hosts that are left."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import (
    DryRunOption,
    ProfileOption,
    RecipeArgument,
    SetOption,
    Where,
    WithOption,
    split,
)
from spark_cluster.cli.output import Output


def failover(
    recipe: RecipeArgument,
    without: Annotated[
        list[str],
        typer.Option(
            "--without", metavar="HOST", help="Hosts to avoid (repeatable, comma-separated)."
        ),
    ],
    *,
    profile: ProfileOption = None,
    options: WithOption = None,
    dry_run: DryRunOption = False,
    where: Where,
    settings: SetOption = None,
    output: Output,
) -> int:
    """Serve a recipe on other hosts.

    Chooses the first that have fabric, image, model and memory for it. Takes down what is left of
    it, then launches. If no hosts can carry it, says what each lacks and changes nothing.
    """
    from spark_cluster.actions import failover as action
    from spark_cluster.inventory.loader import select

    loaded = where.load()
    avoided = select(loaded, split(without, "--without"))
    act = partial(
        action.failover, loaded, recipe, avoided,
        profile=profile, options=split(options, "--with") or (),
        settings=settings or (), dry_run=dry_run,
    )  # fmt: skip
    return output.act(act, dry_run=dry_run)
