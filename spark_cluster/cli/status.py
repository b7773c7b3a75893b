"""`spark-cluster status`: what of ours runs where, read now."""

from __future__ import annotations

import typer

from spark_cluster.cli.options import (
    HostsOption,
    InventoryOption,
    JsonOption,
    VerboseOption,
    split,
)


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show each host: our containers, the server, memory, swap. One look, nothing changed."""
    import json

    from spark_cluster.cli.console import make_console
    from spark_cluster.cli.running import load_inventory
    from spark_cluster.cli.status_view import read, show, verdict_row
    from spark_cluster.inventory.loader import select

    loaded = load_inventory(inventory)
    rows = read(loaded, select(loaded, split(hosts)))
    verdict = verdict_row(loaded, rows)
    if as_json:
        typer.echo(json.dumps({"inventory": str(loaded.path), "hosts": rows, "verdict": verdict}))
    else:
        show(make_console(), loaded, rows, verdict, verbose=verbose)
    return 3 if any(row["state"] == "unknown" for row in rows) else 0
