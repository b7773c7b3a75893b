"""Users may lock memory: RDMA registers its buffers, and locked pages count against memlock.

Containers get their own limit from launch; this one is for perftest and ib_write_bw in a login.
"""

from __future__ import annotations

from spark_cluster.core.step import Assessment
from spark_cluster.facts.rdma import ACCESS, LIMITS_FILE
from spark_cluster.steps.base import NoParams, rewrite, step
from spark_cluster.steps.view import View

_CONTENT = (
    "# Written by spark-cluster: RDMA buffers are locked memory (limits.conf(5)).\n"
    "*    soft memlock unlimited\n"
    "*    hard memlock unlimited\n"
    "root soft memlock unlimited\n"
    "root hard memlock unlimited\n"
)


@step("memlock", "Allow unlimited locked memory at login", NoParams, reads=(ACCESS,))
def memlock(view: View, _: NoParams) -> Assessment:
    now = view.facts[ACCESS].limits_file
    return Assessment(rewrite(LIMITS_FILE, now, _CONTENT, "memlock unlimited"))
