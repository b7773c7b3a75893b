"""What `model sync` and `image sync` share: from which host to which."""

from __future__ import annotations

from spark_cluster.cli.running import Request
from spark_cluster.inventory.loader import select
from spark_cluster.inventory.models import Inventory
from spark_cluster.transfer.plan import targets


def copy_request(
    verb: str,
    inventory: Inventory,
    what: str,
    *,
    to: list[str] | None,
    source: str | None,
    as_json: bool,
    verbose: bool,
) -> tuple[Request, list[str], str | None]:
    """The run, the hosts that should have `what`, and the one to copy from if it was named.

    Raises InputError for a host that the inventory does not have.
    """
    wanted = targets(inventory, to)
    preferred = select(inventory, [source])[0] if source else None
    request = Request(
        verb=verb,
        playbook="",
        hosts=select(inventory, [*wanted, preferred]) if preferred else list(inventory.hosts),
        inventory=inventory,
        note=f"{what} to {', '.join(wanted)}",
        as_json=as_json,
        verbose=verbose,
        all_hosts_needed=False,
    )
    return request, wanted, preferred
