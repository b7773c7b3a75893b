"""`spark-cluster undo network`: the netplan files as they were before us."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import (
    AllowManagementOption,
    DryRunOption,
    Hosts,
    SetOption,
    not_empty,
)
from spark_cluster.cli.output import Output
from spark_cluster.cli.sections import Group

app = typer.Typer(
    cls=Group, name="undo", help="Take back what bootstrap changed.", no_args_is_help=True
)


@app.callback()
def _root() -> None:
    pass


@app.command("network")
@grouped
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
    from spark_cluster.actions.run import run_playbook

    to = not_empty(to, "--to")
    loaded = where.load()
    request = undo_request(
        loaded,
        where.select(loaded),
        to=to,
        settings=settings or (),
        allow_management=allow_management,
    )
    with output.operator(goes_on=not dry_run) as operator:
        return output.finish(run_playbook(request, operator, dry_run=dry_run))
