"""After a teardown: shared memory that killed processes of the engine left behind is removed.

The containers share the host's /dev/shm (`--ipc host`), so docker does not clean it up. Only what
was not there before the launch, has a name that engines give, is root's and is used by nobody.
What System V gives has no name that tells whose it is: it is named and left alone.
"""

from __future__ import annotations

import re

from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change, skip
from spark_cluster.core.units import count
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.launch_snapshot import LAUNCH_SNAPSHOT
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.shared_memory import SHARED_MEMORY
from spark_cluster.steps.base import NoParams, step
from spark_cluster.steps.view import View

#: Python's multiprocessing.shared_memory and its semaphores, loky's, NCCL's, CUDA's IPC, torch's
#: file_system sharing, Open MPI's vader and sm.
_ENGINES = re.compile(
    r"psm_|sem\.(mp|loky)-|nccl-|cuda\.shm\.|torch_\d|vader_segment\.|sm_segment\."
)


@step(
    "shared-memory",
    "Remove shared memory that the engine left",
    NoParams,
    reads=(LAUNCH_SNAPSHOT, SHARED_MEMORY, CONTAINERS),
    affects=(SHARED_MEMORY, MEMORY),
    formerly=("traces",),
)
def shared_memory(view: View, _: NoParams) -> Assessment:
    before, now = view.facts[LAUNCH_SNAPSHOT], view.facts[SHARED_MEMORY]
    if not before.run:
        return skip("no note of before the launch is on the host")
    if view.facts[CONTAINERS].containers:
        return skip("containers of ours are still here")
    new = {name: uid for name, uid in now.shm.items() if name not in before.shm}
    ours = sorted(
        name
        for name, uid in new.items()
        if uid == 0 and name not in now.used and _ENGINES.match(name)
    )
    changes = [
        Change(f"/dev/shm/{name}", "left behind", "gone", f"rm -rf /dev/shm/{quote(name)}\n")
        for name in ours
    ]
    notes = []
    others = sorted(new.keys() - set(ours))
    if others:
        notes.append(f"new in /dev/shm since the launch and left alone: {', '.join(others)}")
    notes += _left("System V shared memory segment", "-m", now.segments - before.segments)
    notes += _left("System V semaphore set", "-s", now.semaphores - before.semaphores)
    return Assessment(tuple(changes), notes=tuple(notes))


def _left(what: str, option: str, ids: frozenset[int]) -> list[str]:
    """The note of those that are new, with the command that removes them."""
    if not ids:
        return []
    words = " ".join(f"{option} {each}" for each in sorted(ids))
    return [f"{count(len(ids), what)} of root's new since the launch and left alone: ipcrm {words}"]
