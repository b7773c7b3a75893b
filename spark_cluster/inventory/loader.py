"""Find and read an inventory; its hosts and groups. What must be true of it is in rules.py."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from spark_cluster import places
from spark_cluster.core.error import InputError
from spark_cluster.document import Source, read, suggest, validate
from spark_cluster.inventory import foreign, rules
from spark_cluster.inventory.models import Inventory
from spark_cluster.places import expanded
from spark_cluster.transport.protocol import Target

FILE = "sparks.yaml"


def find(given: str | None) -> Path:
    """The inventory's path: --inventory, $SPARK_CLUSTER_INVENTORY, the current one, ours.

    `lab up` makes the lab's inventory the current one until `lab down`.
    """
    if given == "":
        raise InputError(
            "--inventory is empty: it names nothing",
            remedy="Leave it out for the current inventory, or name one.",
        )
    named = given or os.environ.get("SPARK_CLUSTER_INVENTORY")
    if named:
        return _named(named, "" if given else " (from $SPARK_CLUSTER_INVENTORY)")
    with contextlib.suppress(OSError):  # a pointer that is not there, or damaged
        text = places.current_inventory_pointer().read_text(encoding="utf-8", errors="replace")
        path = Path(text.strip())
        if path.is_file():
            return path
    for folder in places.search_path("inventory"):
        if (folder / FILE).is_file():
            return folder / FILE
    raise InputError(
        "no inventory found",
        remedy="`spark-cluster init HOST…` writes one; or name one with --inventory FILE.",
    )


def _named(name: str, origin: str) -> Path:
    path = expanded(name)
    try:
        path = path / FILE if path.is_dir() else path
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"there is no inventory at {path}{origin}",
            remedy="`spark-cluster init HOST…` writes one; or name another with --inventory FILE.",
        ) from error
    except OSError:
        pass  # whoever reads it says why it cannot be read
    return path


def load(path: Path) -> Inventory:
    """Read and check. Raises InputError with file, line and field."""
    source = _read(path.absolute())
    if source.data.get("hosts", ...) in (None, {}):
        raise source.error(("hosts",), "there is no host", "Add one below `hosts:`.")
    rules.check_written(source)
    inventory = validate(source, Inventory)
    inventory._path = path.absolute()
    rules.check(source, inventory)
    return inventory


def _read(path: Path) -> Source:
    """Raises InputError, for a file of another tool with its name."""
    try:
        source = read(path, begin="`spark-cluster init HOST…` writes an inventory.")
    except InputError as error:
        known = foreign.of_text(_text(path))
        if known is None:
            raise
        raise InputError(known[0], place=f"{path}:1", remedy=known[1]) from error
    known = foreign.of_fields(source.data)
    if known is None and "hosts" not in source.data:
        known = foreign.of_text(_text(path))
    if known is not None:
        place = source.place(("hosts",)) if "hosts" in source.data else f"{path}:1"
        raise InputError(known[0], place=place, remedy=known[1])
    return source


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def select(inventory: Inventory, hosts: list[str] | None) -> list[str]:
    """The named hosts (or those of the named groups) in the inventory's order; all by default."""
    if not hosts:
        return list(inventory.hosts)
    chosen: set[str] = set()
    for name in hosts:
        if name in inventory.groups:
            chosen.update(inventory.groups[name])
        elif name in inventory.hosts:
            chosen.add(name)
        else:
            known = [*inventory.hosts, *inventory.groups]
            raise InputError(
                f"there is no host or group {name!r} in the inventory",
                place=str(inventory.path),
                remedy=suggest(name, known, "hosts and groups"),
            )
    return [name for name in inventory.hosts if name in chosen]


def group(inventory: Inventory, name: str | None) -> tuple[str, tuple[str, ...]]:
    """The group's name and its hosts, head first; the only group if none is named. Hosts with
    commas between them are a group of their own."""
    if name is None:
        if len(inventory.groups) == 1:
            return next(iter(inventory.groups.items()))
        names = ", ".join(inventory.groups)
        hosts_alone = "Name the hosts: --group HOST, or --group HOST,HOST with the head first."
        raise InputError(
            f"the inventory has {len(inventory.groups)} groups; which one serves?",
            place=str(inventory.path),
            remedy=f"Name it with --group: {names}." if names else hosts_alone,
        )
    hosts = tuple(dict.fromkeys(name.split(",")))
    if len(hosts) > 1 and set(hosts) <= set(inventory.hosts):
        return ", ".join(hosts), hosts
    if name not in inventory.groups:
        raise InputError(
            f"there is no group {name!r} in the inventory",
            place=str(inventory.path),
            remedy=suggest(name, list(inventory.groups), "groups"),
        )
    return name, inventory.groups[name]


def target(inventory: Inventory, name: str) -> Target:
    """Where and how to reach the host."""
    host = inventory.hosts[name]
    folder = inventory.path.parent

    def absolute(given: str | None) -> str | None:
        return str(folder / expanded(given)) if given else None

    return Target(
        name=name,
        address=inventory.reachable_address(name),
        user=host.user,
        port=host.port,
        identity=absolute(host.identity),
        ssh_config=absolute(inventory.ssh.config),
        known_hosts=absolute(inventory.ssh.known_hosts),
        connect_timeout=inventory.ssh.connect_timeout,
    )
