"""Bring back the netplan files of before our first change, from the guard's snapshot."""

from __future__ import annotations

from pydantic import Field

from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change, found, skip
from spark_cluster.document import Document
from spark_cluster.facts.guard import FOLDER, GUARD, GuardFact, Snapshot
from spark_cluster.facts.host import HOST
from spark_cluster.facts.links import LINKS, PING
from spark_cluster.facts.netplan import NETPLAN
from spark_cluster.facts.rdma import GIDS
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.view import View


class Restore(Document):
    """`to`: the run whose snapshot comes back; empty for the oldest that was not undone."""

    to: str = ""
    guard_seconds: int = Field(default=120, ge=30, le=3600)


class Forget(Document):
    """`to`: as in netplan-restore."""

    to: str = ""


def target(fact: GuardFact, to: str) -> Snapshot | None:
    """The snapshot to go back to: the files of before run `to`, or of before our first change."""
    for snapshot in fact.snapshots:
        if snapshot.run == to or (not to and snapshot.state == "confirmed"):
            return snapshot
    return None


def _missing(fact: GuardFact, to: str) -> Assessment:
    if not to:
        return skip("nothing to undo: no network change of ours is in force")
    known = ", ".join(each.run for each in fact.snapshots) or "none"
    return found(problem("NET008", f"there is no snapshot of run {to}; there are {known}"))


@step(
    "netplan-restore",
    "Restore the network configuration (netplan, guarded)",
    Restore,
    reads=(HOST, NETPLAN, GUARD),
    affects=(LINKS, GIDS, PING),
    guarded=lambda params: params.guard_seconds,
    keeps_peers=False,
)
def restore(view: View, params: Restore) -> Assessment:
    fact = view.facts[GUARD]
    snapshot = target(fact, params.to)
    if snapshot is None:
        return _missing(fact, params.to)
    wanted, now = snapshot.files, fact.files
    changes = tuple(
        _change(snapshot.run, name, wanted, now)
        for name in sorted({*wanted, *now})
        if wanted.get(name) != now.get(name)
    )
    files = view.facts[NETPLAN].files
    touched = [files[change.what].interfaces or () for change in changes if change.what in files]
    management = view.facts[HOST].management
    if any(management in names for names in touched) and not view.options.allow_management:
        what = f"SSH came in on {management}, which this would configure"
        return Assessment(changes, (problem("NET007", what),))
    return Assessment(changes)


def _change(run: str, name: str, wanted: dict[str, str], now: dict[str, str]) -> Change:
    # Relative to /etc/netplan, because the guard first tries it in a copy.
    path = f"/etc/netplan/{name}"
    if name not in wanted:
        return Change(path, "there", "removed", f"rm -f ./{quote(name)}\n")
    commands = f"cp -a {FOLDER}/{quote(run)}/before/{quote(name)} ./{quote(name)}\n"
    return Change(path, "changed" if name in now else "absent", f"as before {run}", commands)


@step("netplan-forget", "Remove the snapshots that are used up", Forget, reads=(GUARD,))
def forget(view: View, params: Forget) -> Assessment:
    """Mark the snapshots from there on as undone, so that a later undo does not go back further."""
    fact = view.facts[GUARD]
    snapshot = target(fact, params.to)
    if snapshot is None or snapshot.files != fact.files:
        return Assessment(notes=("nothing was undone",))
    # The undo's own snapshot among them: its state may have been read before it was confirmed.
    runs = [
        each.run
        for each in fact.snapshots
        if each.run >= snapshot.run and each.state in ("confirmed", "armed", "open")
    ]
    commands = "".join(f"touch {FOLDER}/{quote(run)}/undone\n" for run in runs)
    if not runs:
        return Assessment()
    return Assessment(changes=(Change("snapshots", f"{len(runs)} in force", "undone", commands),))
