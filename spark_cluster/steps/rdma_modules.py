"""/dev/infiniband/rdma_cm needs the module rdma_ucm, now and after the next boot."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.core.shell import wait_for, write_file
from spark_cluster.core.step import Assessment, Change
from spark_cluster.facts.rdma import ACCESS, MODULES_FILE
from spark_cluster.steps.base import NoParams, step
from spark_cluster.steps.view import View

_CONTENT = "# Written by spark-cluster: user space needs /dev/infiniband/rdma_cm.\nrdma_ucm\n"


@step("rdma-modules", "Load the RDMA connection manager for user space", NoParams, reads=(ACCESS,))
def rdma_modules(view: View, _: NoParams) -> Assessment:
    return Assessment(changes=tuple(_changes(view)))


def _changes(view: View) -> Iterator[Change]:
    access = view.facts[ACCESS]
    if not access.cm:
        yield Change(
            "/dev/infiniband/rdma_cm",
            "absent",
            "present (module rdma_ucm)",
            "modprobe rdma_ucm\n"
            + wait_for(
                "[ -e /dev/infiniband/rdma_cm ]", seconds=15, what="/dev/infiniband/rdma_cm"
            ),
        )
    if access.modules_file != _CONTENT:
        before = "another content" if access.modules_file else "absent"
        yield Change(
            MODULES_FILE, before, "rdma_ucm at boot", write_file(MODULES_FILE, _CONTENT, 0o644)
        )
