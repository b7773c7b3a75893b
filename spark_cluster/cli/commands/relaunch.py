"""`spark-cluster relaunch`: take down what runs, and launch the same again."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import DryRunOption, SetOption, Where, not_empty
from spark_cluster.cli.output import Output


def relaunch(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="Recipe name or .yaml file; default: the one that is launched."
        ),
    ] = None,
    *,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Collect evidence first, as `evidence` does.")
    ] = False,
    dry_run: DryRunOption = False,
    where: Where,
    settings: SetOption = None,
    output: Output,
) -> int:
    """Launch what is running again, on the same hosts with the same choices.

    It is taken down first, but not before all that the launch needs was seen to be there.
    """
    from spark_cluster.actions import relaunch as action

    act = partial(
        action.relaunch, where.load(), not_empty(recipe),
        settings=settings or (), dry_run=dry_run, evidence=evidence,
    )  # fmt: skip
    return output.act(act, dry_run=dry_run)
