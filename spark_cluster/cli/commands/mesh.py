"""`spark-cluster mesh`: SSH between the nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import DryRunOption, Hosts
from spark_cluster.cli.output import Output


def register(app: typer.Typer) -> None:
    app.command("mesh")(mesh)


@grouped
def mesh(
    *,
    where: Hosts,
    output: Output,
    undo: Annotated[bool, typer.Option("--undo", help="Remove what mesh added.")] = False,
    dry_run: DryRunOption = False,
) -> int:
    """Let the nodes reach each other by SSH.

    Each node gets a key of its own, made there, that never leaves it.
    """
    from spark_cluster.actions.bootstrap import mesh_request
    from spark_cluster.actions.run import run_playbook

    loaded = where.load()
    request = mesh_request(loaded, where.select(loaded), undo=undo)
    with output.operator(goes_on=not dry_run) as operator:
        return output.finish(run_playbook(request, operator, dry_run=dry_run))
