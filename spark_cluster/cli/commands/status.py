"""`spark-cluster status`: what of ours runs where, read now."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import (
    HostsOption,
    InventoryOption,
    JsonOption,
    VerboseOption,
    split,
)
from spark_cluster.cli.terminal import say_json


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh in full screen until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            "--interval",
            min=0.5,
            max=3600,
            help="Seconds between refreshes with --watch; default: 2.",
        ),
    ] = None,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show hosts, rails, our containers, the server and its work. One exec a host, nothing changed.

    Rates are those of about a second; with --watch those between two refreshes.
    """

    from spark_cluster.cli.running import load_inventory
    from spark_cluster.cli.terminal import Console
    from spark_cluster.cli.views.status import read, show, verdict_row
    from spark_cluster.core.error import InputError
    from spark_cluster.inventory.loader import select

    if interval is not None and not watch:
        raise InputError(
            "--interval goes with --watch only", remedy="Add --watch, or leave --interval out."
        )
    loaded = load_inventory(inventory)
    names = select(loaded, split(hosts))
    if watch:
        from spark_cluster.cli.views import status_screen

        return status_screen.watch(loaded, names, interval or 2.0, as_json=as_json)
    rows = read(loaded, names)
    verdict = verdict_row(loaded, rows)
    if as_json:
        say_json({"inventory": str(loaded.path), "hosts": rows, "verdict": verdict})
    else:
        show(Console(), loaded, rows, verdict, verbose=verbose)
    unknown = (row["state"] == "unknown" or row.get("docker_error") for row in rows)
    return 3 if any(unknown) else 0
