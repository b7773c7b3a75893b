"""`spark-cluster trust HOST`: look at a host's keys, then record them."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import InventoryOption
from spark_cluster.cli.terminal import confirm, say


def register(app: typer.Typer) -> None:
    app.command("trust")(trust)


def trust(
    hosts: Annotated[list[str], typer.Argument(metavar="HOST", help="Hosts or groups to trust.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the recorded key of a host.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Record the keys without asking.")
    ] = False,
    inventory: InventoryOption = None,
) -> None:
    """Show the SSH host keys of hosts and record them in known_hosts.

    Shows the fingerprints and asks. Compare them with what
    `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says on the host.
    """
    import sys

    from spark_cluster.actions.run import load_inventory
    from spark_cluster.core.error import InputError
    from spark_cluster.core.units import count
    from spark_cluster.inventory.loader import select, target
    from spark_cluster.transport import known_hosts
    from spark_cluster.transport import trust as keys

    loaded = load_inventory(inventory)
    for name in select(loaded, hosts):
        there = target(loaded, name)
        shown = keys.scan(there)
        path = keys.path_for(there)
        new = [key for key in shown if not keys.is_known(there, key)]
        for key in shown:
            state = "new" if key in new else "known"
            say(f"{name}  {key.type:<22} {key.fingerprint}  {state}")
        if not new:
            say(f"{name}: all {len(shown)} keys are in known_hosts already")
            continue
        if not yes:
            if not sys.stdin.isatty():
                raise InputError(
                    f"{name}: {count(len(new), 'new key')} and there is no terminal to ask on",
                    remedy=f"Compare the fingerprints, then `spark-cluster trust {name} --yes`.",
                )
            confirm(f"record {count(len(new), 'key')} of {name} in {path}?", abort=True)
        known_hosts.record(path, new, replace=replace)
        say(f"{name}: {count(len(new), 'key')} recorded in {path}")
