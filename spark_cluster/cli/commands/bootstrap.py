"""`spark-cluster bootstrap`: make the hosts ready."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import AllowManagementOption, DryRunOption, Hosts, SetOption
from spark_cluster.cli.output import Output


def register(app: typer.Typer) -> None:
    app.command("bootstrap")(bootstrap)


@grouped
def bootstrap(
    *,
    where: Hosts,
    output: Output,
    dry_run: DryRunOption = False,
    settings: SetOption = None,
    allow_management: AllowManagementOption = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Remove other netplan files that configure only our interfaces; `undo network` "
            "restores them.",
        ),
    ] = False,
) -> int:
    """Make the hosts ready: network, RDMA, swap, docker. A second run changes nothing."""
    from spark_cluster.actions.bootstrap import bootstrap_request
    from spark_cluster.actions.run import run_playbook

    loaded = where.load()
    request = bootstrap_request(
        loaded,
        where.select(loaded),
        settings=settings or (),
        allow_management=allow_management,
        take_over=take_over,
    )
    with output.operator(goes_on=not dry_run) as operator:
        return output.finish(run_playbook(request, operator, dry_run=dry_run))
