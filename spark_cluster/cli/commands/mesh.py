"""`spark-cluster mesh`: SSH between the nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import (
    DryRunOption,
    HostsOption,
    InventoryOption,
    JsonOption,
    VerboseOption,
    split,
)

_STEPS = ("mesh-keys", "mesh-trust", "mesh-connect")


def register(app: typer.Typer) -> None:
    app.command("mesh")(mesh)


def mesh(
    undo: Annotated[bool, typer.Option("--undo", help="Remove what mesh added.")] = False,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Let the nodes reach each other by SSH.

    Each node gets a key of its own, made there, that never leaves it.
    """
    from spark_cluster.actions.running import Request, load_inventory
    from spark_cluster.cli.verbs import run_playbook
    from spark_cluster.inventory.loader import select

    loaded = load_inventory(inventory)
    request = Request(
        verb="mesh",
        playbook="mesh",
        hosts=select(loaded, split(hosts)),
        inventory=loaded,
        settings=[f"{step}.state=absent" for step in _STEPS] if undo else (),
        as_json=as_json,
        verbose=verbose,
        note="undo: what mesh added is removed" if undo else None,
    )
    return run_playbook(request, dry_run=dry_run)
