"""`spark-cluster trust HOST`: look at a host's keys, then record them."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import InventoryOption
from spark_cluster.core.error import InputError
from spark_cluster.terminal.printing import confirm, say


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

    from spark_cluster.actions import trust as action
    from spark_cluster.actions.run import load_inventory
    from spark_cluster.core.units import count
    from spark_cluster.inventory.loader import select

    loaded = load_inventory(inventory)
    for name in select(loaded, hosts):
        found = action.look(loaded, name)
        for key in found.keys:
            state = "new" if key in found.new else "known"
            say(f"{name}  {key.type:<22} {key.fingerprint}  {state}")
        if not found.new:
            say(f"{name}: all {len(found.keys)} keys are in known_hosts already")
            continue
        new = len(found.new)
        if not yes:
            if not sys.stdin.isatty():
                raise InputError(
                    f"{name}: {count(new, 'new key')} and there is no terminal to ask on",
                    remedy=f"Compare the fingerprints, then `spark-cluster trust {name} --yes`.",
                )
            confirm(f"record {count(new, 'key')} of {name} in {found.path}?", abort=True)
        action.record(found, replace=replace)
        say(f"{name}: {count(new, 'key')} recorded in {found.path}")
