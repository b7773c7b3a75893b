"""`spark-cluster undo network`: the netplan files as they were before us."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import (
    AllowManagementOption,
    DryRunOption,
    Hosts,
    SetOption,
    not_empty,
)
from spark_cluster.cli.output import Output
from spark_cluster.cli.sections import Verbs

app = Verbs("undo", "Take back what bootstrap changed.")


@app.callback()
def _root() -> None:
    """A group, though it has one command."""


@app.verb()
def network(
    *,
    where: Hosts,
    output: Output,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="RUN",
            help="Restore the state before this run (`history --nodes` lists runs).",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    settings: SetOption = None,
    allow_management: AllowManagementOption = False,
) -> int:
    """Restore the netplan files from before our first change.

    The change goes through the network guard.
    """
    from spark_cluster.actions.bootstrap import undo_request

    request = undo_request(
        *where.load_hosts(),
        to=not_empty(to, "--to"),
        settings=settings or (),
        allow_management=allow_management,
    )
    return output.run(request, dry_run=dry_run)
