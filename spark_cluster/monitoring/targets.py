"""What Prometheus scrapes, by job, made from the inventory; and by which address it gets there."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from spark_cluster.inventory.models import Inventory
from spark_cluster.monitoring.ports import DCGM_EXPORTER, NODE_EXPORTER, WATCHER

#: What stands for the machine itself in an inventory; no other machine gets anywhere by these.
_SELF = ("local", "localhost")


@dataclass(frozen=True)
class Target:
    """One address to scrape. `labels` are put on every series from there."""

    address: str
    labels: tuple[tuple[str, str], ...] = ()

    def as_dict(self) -> dict[str, object]:
        """An entry of a file_sd file (Prometheus: `targets`, `labels`)."""
        return {"targets": [self.address], "labels": dict(self.labels)}


@dataclass(frozen=True)
class Targets:
    """`jobs` is what to scrape. `unreached` are hosts to which the inventory knows no way;
    `by_name` are those whose SSH name the scraping host must resolve."""

    jobs: dict[str, tuple[Target, ...]]
    unreached: tuple[str, ...] = ()
    by_name: tuple[str, ...] = ()


def way(inventory: Inventory, source: str, host: str) -> str | None:
    """The address by which `source` reaches `host`: itself, a link in common, a rail in common,
    else what SSH connects to. None if that is an address of the machine itself."""
    if source == host:
        return "127.0.0.1"
    here, there = inventory.hosts[source], inventory.hosts[host]
    for ours, theirs in ((here.links, there.links), (here.rails, there.rails)):
        networks = [item.network for item in ours]
        for item in theirs:
            if item.network in networks:
                return item.ip
    address = inventory.reachable_address(host)
    return None if address in _SELF or _is_loopback(address) else address


def from_outside(inventory: Inventory, host: str) -> str:
    """The address of `host` for a person's browser: what SSH connects to, or one of its links when
    that is an address of this very machine (a port forward, as in the lab)."""
    address = inventory.reachable_address(host)
    if address not in _SELF and not _is_loopback(address):
        return address
    interfaces = (*inventory.hosts[host].links, *inventory.hosts[host].rails)
    return interfaces[0].ip if interfaces else "127.0.0.1"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_name(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return True
    return False


def targets(
    inventory: Inventory,
    server: str,
    *,
    engine_port: int,
    watcher: str = "",
    node: Collection[str] | None = None,
    dcgm: Collection[str] | None = None,
) -> Targets:
    """What the Prometheus on `server` scrapes. `watcher` is `address:port` of our exporter, on
    `server` itself if empty; `node` and `dcgm` are the hosts with that exporter, all if None."""
    ways = {name: way(inventory, server, name) for name in inventory.hosts}

    def job(port: int, names: Collection[str] | None = None) -> tuple[Target, ...]:
        return tuple(
            Target(f"{address}:{port}", tuple(_labels(inventory, name)))
            for name, address in ways.items()
            if address is not None and (names is None or name in names)
        )

    jobs = {
        # After a failover any host may be the head; facts/monitor.py tells who has no engine.
        "vllm": job(engine_port),
        "node": job(NODE_EXPORTER, node),
        "dcgm": job(DCGM_EXPORTER, dcgm),
        "watcher": (Target(watcher or f"127.0.0.1:{WATCHER}"),),
    }
    unreached = tuple(name for name, address in ways.items() if address is None)
    by_name = tuple(name for name, address in ways.items() if address and _is_name(address))
    return Targets(jobs, unreached, by_name)


def _labels(inventory: Inventory, name: str) -> Iterator[tuple[str, str]]:
    yield "host", name
    groups = [group for group, members in inventory.groups.items() if name in members]
    if groups:
        yield "group", ",".join(groups)
