"""`spark-cluster mesh`: SSH between the nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import DryRunOption, Hosts
from spark_cluster.cli.output import Output


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

    return output.run(mesh_request(*where.load_hosts(), undo=undo), dry_run=dry_run)
