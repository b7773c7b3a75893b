"""Give the page cache back before a launch: on unified memory the GPU cannot take it over."""

from __future__ import annotations

from pydantic import Field

from spark_cluster.core.step import Assessment, Change, Step, skip
from spark_cluster.core.units import human_bytes
from spark_cluster.document import Document
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.memory import MEMORY
from spark_cluster.steps.view import View


class Params(Document):
    """`above_mib`: leave a cache smaller than this alone."""

    above_mib: int = Field(default=512, ge=0)


def assess(view: View, params: Params) -> Assessment:
    if view.own_container() is not None:
        return skip("this deployment already runs here")
    droppable = view.facts[MEMORY].droppable
    if droppable <= params.above_mib * 1024**2:
        return Assessment(notes=(f"page cache {human_bytes(droppable)}",))
    change = Change(
        "page cache",
        human_bytes(droppable),
        f"at most {params.above_mib} MiB",
        "sync\necho 3 > /proc/sys/vm/drop_caches\n",
    )
    return Assessment(changes=(change,))


STEP = Step(
    name="page-cache",
    title="Drop the page cache",
    params=Params,
    reads=(MEMORY.name, CONTAINERS.name),
    assess=assess,
    timeout=300.0,
)
