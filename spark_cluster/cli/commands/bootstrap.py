"""`spark-cluster bootstrap`: make the hosts ready."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import (
    AllowManagementOption,
    DryRunOption,
    HostsOption,
    InventoryOption,
    JsonOption,
    SetOption,
    VerboseOption,
    split,
)


def register(app: typer.Typer) -> None:
    app.command("bootstrap")(bootstrap)


def bootstrap(
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
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
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Make the hosts ready: network, RDMA, swap, docker. A second run changes nothing."""
    from spark_cluster.actions.running import Request, load_inventory
    from spark_cluster.cli.verbs import run_playbook
    from spark_cluster.inventory import rings
    from spark_cluster.inventory.loader import select
    from spark_cluster.steps.view import Options

    loaded = load_inventory(inventory)
    request = Request(
        verb="bootstrap",
        playbook="bootstrap",
        hosts=select(loaded, split(hosts)),
        inventory=loaded,
        settings=[*(settings or ()), *(["netplan.take_over=true"] if take_over else [])],
        options=Options(allow_management=allow_management),
        warnings=rings.warnings(loaded),
        as_json=as_json,
        verbose=verbose,
    )
    return run_playbook(request, dry_run=dry_run)
