"""`spark-cluster bootstrap`: make the hosts ready."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import AllowManagementOption, DryRunOption, Hosts, SetOption
from spark_cluster.cli.output import Output


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

    request = bootstrap_request(
        *where.load_hosts(),
        settings=settings or (),
        allow_management=allow_management,
        take_over=take_over,
    )
    return output.run(request, dry_run=dry_run)
