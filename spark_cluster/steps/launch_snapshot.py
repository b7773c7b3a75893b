"""What the host was like before the launch: written down by launch, put back by teardown."""

from __future__ import annotations

from typing import Literal

from spark_cluster.core.labels import LABEL
from spark_cluster.core.shell import quote, write_file
from spark_cluster.core.step import Assessment, Change, skip
from spark_cluster.document import Document
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.launch_snapshot import LAUNCH_SNAPSHOT, NOTE, LaunchSnapshotFact
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.shared_memory import SHARED_MEMORY
from spark_cluster.steps.base import step
from spark_cluster.steps.view import View


class Params(Document):
    """`state`: noted, before launch changes anything; restored, after a teardown: the swap that
    launch turned off is on again, and the note is gone."""

    state: Literal["noted", "restored"]


@step(
    "launch-snapshot",
    "Record the host's state before the launch",
    Params,
    reads=(LAUNCH_SNAPSHOT, SWAP, CONTAINERS, MEMORY, SHARED_MEMORY),
    timeout=300.0,
    titles={"restored": "Restore the host's state from before the launch"},
    formerly=("as-before",),
)
def launch_snapshot(view: View, params: Params) -> Assessment:
    return _noted(view) if params.state == "noted" else _restored(view)


def _noted(view: View) -> Assessment:
    before = view.facts[LAUNCH_SNAPSHOT]
    run = view.spec.labels[f"{LABEL}.run"]
    if view.own_container() is not None:
        return skip("this deployment already runs here")
    if before.run == run:
        return Assessment()
    traces = view.facts[SHARED_MEMORY]
    # A launch that failed has turned its swap off already: its note still knows.
    swaps = dict.fromkeys([*view.facts[SWAP].active, *before.swaps])
    note = LaunchSnapshotFact(
        run=run,
        memory=view.facts[MEMORY].available,
        hugepages=traces.hugepages,
        swaps=tuple(swaps),
        shm=frozenset(traces.shm),
        segments=traces.segments,
        semaphores=traces.semaphores,
    )
    written = write_file(NOTE, note.text(), 0o600)
    was = f"of launch {before.run}" if before.run else "absent"
    return Assessment((Change(NOTE, was, f"of launch {run}", written),))


def _restored(view: View) -> Assessment:
    before = view.facts[LAUNCH_SNAPSHOT]
    fact = view.facts[CONTAINERS]
    if not before.run:
        return Assessment(notes=("no note of before the launch is on the host",))
    if fact.error or fact.unread or fact.containers:
        return skip("containers of ours are still here, or docker does not say")
    active = view.facts[SWAP].active
    changes = [
        Change(f"swap {name}", "off", "on, as before the launch", f"swapon {quote(name)}\n")
        for name in before.swaps
        if name not in active
    ]
    done = Change(NOTE, f"of launch {before.run}", "used up", f"rm -f {quote(NOTE)}\n")
    return Assessment((*changes, done))
