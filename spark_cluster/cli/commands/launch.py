"""`spark-cluster launch RECIPE`: serve a model, and say so only when a token came back."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import (
    Chosen,
    DryRunOption,
    GroupOption,
    RecipeArgument,
    SetOption,
    Where,
)
from spark_cluster.cli.output import Output


def launch(
    recipe: RecipeArgument,
    *,
    group: GroupOption = None,
    chosen: Chosen,
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway", help="Launch even if the recipe is known to be broken or lint rejects it."
        ),
    ] = False,
    dry_run: DryRunOption = False,
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare",
            help="Fetch the image and the model first where they are missing; with --dry-run: "
            "forecast the bytes and minutes.",
        ),
    ] = False,
    no_wait: Annotated[
        bool,
        typer.Option(
            "--no-wait", help="Return once the server is started, without waiting for a token."
        ),
    ] = False,
    restart_at_boot: Annotated[
        bool | None,
        typer.Option(
            "--restart-at-boot/--no-restart-at-boot",
            help="Restart the ranks after a reboot or when one ends; "
            "default: as in the last launch of this recipe. Removed by teardown.",
            show_default=False,
        ),
    ] = None,
    where: Where,
    settings: SetOption = None,
    output: Output,
) -> int:
    """Serve a model on a group of hosts. Ready only when a real token came back."""
    from spark_cluster.actions import launch as action
    from spark_cluster.actions.prepare import prepare_and_launch

    choices = chosen.choices(group, anyway=anyway, restart_at_boot=restart_at_boot)
    request = action.launch_request(where.load(), recipe, choices, settings or ())
    launches = prepare_and_launch if prepare else action.launch
    act = partial(
        launches, request, recipe, dry_run=dry_run, no_wait=no_wait, commands=output.verbose
    )
    return output.act(act, dry_run=dry_run)
