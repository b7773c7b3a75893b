"""Look at the keys that a host shows, then record them in known_hosts."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.error import InputError
from spark_cluster.inventory.loader import target
from spark_cluster.inventory.models import Inventory
from spark_cluster.transport import trust as keys
from spark_cluster.transport.known_hosts import HostKey


@dataclass(frozen=True)
class ShownKeys:
    """The keys that a host shows; those that are `new` are not in known_hosts, which would have
    them in the file `path`."""

    host: str
    keys: tuple[HostKey, ...]
    new: tuple[HostKey, ...]
    path: str


def look(inventory: Inventory, host: str) -> ShownKeys:
    """Ask a host for its keys, without logging in there.

    Raises Unreachable; for a gateway of ssh_config HostKeyRejected and AuthFailed, too.
    """
    there = target(inventory, host)
    shown = tuple(keys.scan(there))
    new = tuple(key for key in shown if not keys.is_known(there, key))
    return ShownKeys(host, shown, new, keys.path_for(there))


def record(shown: ShownKeys, *, replace: bool = False) -> None:
    """Write the new keys down. Raises HostKeyRejected where another key of the host is recorded,
    unless that is to be replaced, and InputError for a file that cannot be written."""
    try:
        keys.record(shown.path, shown.new, replace=replace)
    except OSError as error:
        raise InputError(
            f"cannot write {shown.path}: {error.strerror}; no key of {shown.host} was recorded",
            remedy="Make the file and its folder yours to write, or name another one with "
            "`ssh: {known_hosts: FILE}` in the inventory.",
        ) from error
