"""Every fact by its name."""

from __future__ import annotations

from spark_cluster.facts.base import Fact
from spark_cluster.facts.cache import CACHE
from spark_cluster.facts.clock import CLOCK
from spark_cluster.facts.connectx import CONNECTX
from spark_cluster.facts.container_access import CONTAINER_ACCESS
from spark_cluster.facts.cpu import CPU
from spark_cluster.facts.docker import CONTAINERS, DOCKER, IMAGE
from spark_cluster.facts.ended import SERVER_END
from spark_cluster.facts.engine import ENGINE
from spark_cluster.facts.firewall import FIREWALL
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.guard import GUARD
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.kernel_log import KERNEL_LOG
from spark_cluster.facts.launch_snapshot import LAUNCH_SNAPSHOT
from spark_cluster.facts.limits import LIMITS
from spark_cluster.facts.links import LINKS, PING
from spark_cluster.facts.lock import LOCK
from spark_cluster.facts.login import LOGIN
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.facts.memory_pressure import MEMORY_PRESSURE
from spark_cluster.facts.mesh import CALLS, MESH
from spark_cluster.facts.model_config import MODEL_CONFIG
from spark_cluster.facts.monitor import MONITOR, SCRAPED
from spark_cluster.facts.netplan import NETPLAN
from spark_cluster.facts.rdma import ACCESS, COUNTERS, GIDS, NCCL
from spark_cluster.facts.routes import ROUTES
from spark_cluster.facts.secrets import SECRETS
from spark_cluster.facts.services import OBSERVABILITY
from spark_cluster.facts.serving import RAY, SERVER
from spark_cluster.facts.shared_memory import SHARED_MEMORY
from spark_cluster.facts.software import SOFTWARE
from spark_cluster.facts.storage import DISK, FILES, MODEL, PORTS
from spark_cluster.facts.supervisor import SUPERVISOR

FACTS: dict[str, Fact[object]] = {
    fact.name: fact
    for fact in (
        HOST, LINKS, NETPLAN, GIDS, ACCESS, PING, MEMORY, SWAP, DOCKER, GPU, CONTAINERS, IMAGE,
        MODEL, DISK, FILES, PORTS, SECRETS, RAY, SERVER, COUNTERS, NCCL, ENGINE, CONTAINER_ACCESS,
        HARDWARE, ROUTES, FIREWALL, LOGIN, MEMORY_PRESSURE, CACHE, SOFTWARE, GPU_STATE, CLOCK,
        MESH, CALLS, GUARD, MONITOR, SCRAPED, OBSERVABILITY, MODEL_CONFIG, CPU, LOCK,
        LAUNCH_SNAPSHOT, SHARED_MEMORY, SUPERVISOR, SERVER_END, CONNECTX, KERNEL_LOG, LIMITS,
    )
}  # fmt: skip
