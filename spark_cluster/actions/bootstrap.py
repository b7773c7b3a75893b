"""What makes hosts ready, and what takes that back: bootstrap, mesh, undo network."""

from __future__ import annotations

from collections.abc import Sequence

from spark_cluster.core.plan import Override
from spark_cluster.inventory import rings
from spark_cluster.inventory.models import Inventory
from spark_cluster.playbook.loader import Setting
from spark_cluster.runner.request import RunRequest
from spark_cluster.steps.view import Options

_MESH_STEPS = ("mesh-keys", "mesh-trust", "mesh-connect")

_TAKE_OVER = Override("netplan", "take_over", True, "--take-over")


def bootstrap_request(
    inventory: Inventory,
    hosts: Sequence[str],
    *,
    settings: Sequence[Setting] = (),
    allow_management: bool = False,
    take_over: bool = False,
) -> RunRequest:
    """Network, RDMA, swap, docker. `take_over`: netplan files of others that configure only our
    interfaces are removed; `allow_management`: the interface that SSH came in on may change."""
    return playbook_request(
        "bootstrap",
        inventory,
        hosts,
        settings=[*settings, *([_TAKE_OVER] if take_over else [])],
        allow_management=allow_management,
    )


def playbook_request(
    playbook: str,
    inventory: Inventory,
    hosts: Sequence[str],
    *,
    settings: Sequence[Setting] = (),
    allow_management: bool = False,
) -> RunRequest:
    """Any playbook that makes hosts ready."""
    return RunRequest(
        verb=playbook,
        playbook=playbook,
        hosts=hosts,
        inventory=inventory,
        settings=settings,
        options=Options(allow_management=allow_management),
        warnings=rings.warnings(inventory),
    )


def mesh_request(inventory: Inventory, hosts: Sequence[str], *, undo: bool = False) -> RunRequest:
    """SSH between the nodes; with `undo` what it added is removed."""
    return RunRequest(
        verb="mesh",
        playbook="mesh",
        hosts=hosts,
        inventory=inventory,
        settings=[Override(step, "state", "absent", "--undo") for step in _MESH_STEPS]
        if undo
        else (),
        note="undo: what mesh added is removed" if undo else None,
    )


def undo_request(
    inventory: Inventory,
    hosts: Sequence[str],
    *,
    to: str | None = None,
    settings: Sequence[Setting] = (),
    allow_management: bool = False,
) -> RunRequest:
    """The netplan files as they were before our first change, or before the run `to`."""
    steps = ("netplan-restore", "netplan-forget") if to else ()
    return RunRequest(
        verb="undo network",
        playbook="undo-network",
        hosts=hosts,
        inventory=inventory,
        settings=[*settings, *(Override(step, "to", to, "--to") for step in steps)],
        options=Options(allow_management=allow_management),
    )
