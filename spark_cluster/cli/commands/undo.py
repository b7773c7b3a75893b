"""`spark-cluster undo network`: the netplan files as they were before us."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    AllowManagementOption,
    DryRunOption,
    HostsOption,
    InventoryOption,
    JsonOption,
    SetOption,
    VerboseOption,
    not_empty,
    split,
)
from spark_cluster.cli.sections import Group

if TYPE_CHECKING:
    from spark_cluster.actions.running import Request
    from spark_cluster.inventory.models import Inventory

app = typer.Typer(
    cls=Group, name="undo", help="Take back what bootstrap changed.", no_args_is_help=True
)


@app.callback()
def _root() -> None:
    pass


@app.command("network")
def network(
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
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
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Restore the netplan files from before our first change.

    The change goes through the network guard.
    """
    from spark_cluster.actions.running import load_inventory
    from spark_cluster.cli.verbs import run_playbook
    from spark_cluster.inventory.loader import select

    to = not_empty(to, "--to")
    loaded = load_inventory(inventory)
    chosen = [f"netplan-restore.to={to}", f"netplan-forget.to={to}"] if to else []
    request = undo_request(
        loaded,
        select(loaded, split(hosts)),
        settings=[*(settings or ()), *chosen],
        allow_management=allow_management,
        as_json=as_json,
        verbose=verbose,
    )
    return run_playbook(request, dry_run=dry_run)


def undo_request(
    inventory: Inventory,
    hosts: list[str],
    *,
    settings: Sequence[str] = (),
    allow_management: bool = False,
    as_json: bool = False,
    verbose: bool = False,
) -> Request:
    from spark_cluster.actions.running import Request
    from spark_cluster.steps.view import Options

    return Request(
        verb="undo network",
        playbook="undo-network",
        hosts=hosts,
        inventory=inventory,
        settings=settings,
        options=Options(allow_management=allow_management),
        as_json=as_json,
        verbose=verbose,
    )
