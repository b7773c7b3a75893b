"""/dev/infiniband/rdma_cm needs the module rdma_ucm, now and after the next boot."""

from __future__ import annotations

from spark_cluster.core.shell import wait_for
from spark_cluster.core.step import Assessment, Change
from spark_cluster.facts.rdma import ACCESS, MODULES_FILE
from spark_cluster.steps.base import NoParams, rewrite, step
from spark_cluster.steps.view import View

_DEVICE = "/dev/infiniband/rdma_cm"
_LOAD = "modprobe rdma_ucm\n" + wait_for(f"[ -e {_DEVICE} ]", seconds=15, what=_DEVICE)
_CONTENT = "# Written by spark-cluster: user space needs /dev/infiniband/rdma_cm.\nrdma_ucm\n"


@step("rdma-modules", "Load the RDMA connection manager for user space", NoParams, reads=(ACCESS,))
def rdma_modules(view: View, _: NoParams) -> Assessment:
    access = view.facts[ACCESS]
    now = () if access.cm else (Change(_DEVICE, "absent", "present (module rdma_ucm)", _LOAD),)
    at_boot = rewrite(MODULES_FILE, access.modules_file, _CONTENT, "rdma_ucm at boot")
    return Assessment((*now, *at_boot))
