"""Give the page cache back before a launch: on unified memory the GPU cannot take it over."""

from __future__ import annotations

from pydantic import Field

from spark_cluster.core.step import Assessment, Change, skip
from spark_cluster.core.units import human_bytes
from spark_cluster.document import Document
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.memory import MEMORY
from spark_cluster.steps.base import step
from spark_cluster.steps.view import View


class Params(Document):
    """`above_mib`: leave a cache smaller than this alone."""

    above_mib: int = Field(default=512, ge=0)


@step("page-cache", "Drop the page cache", Params, reads=(MEMORY, CONTAINERS), timeout=300.0)
def page_cache(view: View, params: Params) -> Assessment:
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
