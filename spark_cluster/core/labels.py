"""The labels that our containers carry: everything that status, verify-rdma and teardown need."""

from __future__ import annotations

LABEL = "spark-cluster"

#: `on`: the launch was to have the ranks started again at boot. Only relaunch and failover heed it:
#: whether they are is the supervisor's presence on the host.
RESTARTS = f"{LABEL}.restart-at-boot"
