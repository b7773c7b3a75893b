"""`spark-cluster relaunch`: take down what runs, and launch the same again."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import DryRunOption, SetOption, Where, not_empty
from spark_cluster.cli.output import Output


def relaunch(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE]", help="Recipe name or .yaml file; default: the one that is launched."
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

    recipe = not_empty(recipe)
    with output.operator(goes_on=not dry_run) as operator:
        return action.relaunch(
            where.load(), recipe, operator,
            settings=settings or (), dry_run=dry_run, evidence=evidence,
        ).exit_code  # fmt: skip
