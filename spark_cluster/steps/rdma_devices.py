"""The rails' RDMA devices are there, ACTIVE, and have a RoCE v2 GID for the rail's address.

For a launch: those that it uses. In a ring the rails towards a dead neighbour are DOWN, which is in
nobody's way.
"""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.core.step import Assessment, Problem
from spark_cluster.facts.rdma import ACCESS, GIDS
from spark_cluster.inventory.models import Rail
from spark_cluster.rdma.gids import find_gid
from spark_cluster.steps.base import NoParams, patient, problem, step
from spark_cluster.steps.view import View


@step(
    "rdma-devices",
    "Check that RDMA devices are ACTIVE and have an IPv4 RoCE v2 GID",
    NoParams,
    reads=(GIDS, ACCESS),
    wait=lambda _: 20.0,
)
def rdma_devices(view: View, _: NoParams) -> Assessment:
    if view.deployment is not None and len(view.deployment.hosts) == 1:
        return Assessment(skipped="a recipe for one host needs no RDMA")
    if not view.host.rails:
        return Assessment(skipped="the inventory gives it no rails")
    problems = [fault for rail in view.rails(view.name) for fault in _faults(view, rail)]
    # GID tables follow an address change with a delay: wait briefly before calling it a fault.
    return patient(*problems, notes=tuple(_gid_notes(view)))


def _faults(view: View, rail: Rail) -> Iterator[Problem]:
    gids = view.facts[GIDS].get(rail.device)
    if gids is None or not gids.present:
        yield problem("RDMA001", f"{rail.device} is not there ({rail.interface})")
        return
    if gids.netdev is not None and gids.netdev != rail.interface:
        yield problem(
            "RDMA004",
            f"{rail.device} belongs to {gids.netdev}, the inventory says {rail.interface}",
        )
    state = view.facts[ACCESS].states.get(rail.device, "unknown")
    if state != "ACTIVE":
        yield problem("RDMA002", f"{rail.device} port 1 is {state}, not ACTIVE")
    if find_gid(gids.entries, rail.ip) is None:
        yield problem("RDMA003", f"{rail.device} has no RoCE v2 GID for {rail.ip}")


def _gid_notes(view: View) -> Iterator[str]:
    for rail in view.rails(view.name):
        gids = view.facts[GIDS].get(rail.device)
        entry = find_gid(gids.entries, rail.ip) if gids else None
        if entry is not None:
            yield f"{rail.device}: RoCE v2 GID for {rail.ip} at index {entry.index}"
