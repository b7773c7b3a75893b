"""Docker, and what serves or was left behind: containers, GPU processes, ports."""

from __future__ import annotations

import re
from collections.abc import Iterator

from spark_cluster.doctor.catalogue import find
from spark_cluster.doctor.cluster import Cluster, each_host
from spark_cluster.doctor.filters import API, DASHBOARD, RAY
from spark_cluster.doctor.finding import Finding, Severity
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS, DOCKER, Container
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.gpu_state import GPU_STATE
from spark_cluster.facts.host import HOST
from spark_cluster.facts.storage import PORTS
from spark_cluster.inventory.models import Host
from spark_cluster.workload.served import off_gpu, running, server_down

_PID = re.compile(r"pid=(\d{1,10})", re.ASCII)
_NAME = re.compile(r'\("([^"]{1,64})"')


def docker(_: Host, facts: Facts) -> Iterator[Finding]:
    fact = facts[DOCKER]
    if not fact.version:
        yield find("DOCKER001", f"docker says: {fact.error}")
        return
    if not fact.gpu:
        yield find("DOCKER002", fact.no_gpu)
    if not fact.in_group:
        user = facts[HOST].user
        yield find(
            "DOCKER003",
            f"{user} is not in the group docker",
            fix=f"usermod -aG docker {user}; the group is as good as root, so it is a choice",
        )


def containers(cluster: Cluster) -> Iterator[Finding]:
    """A rank that ended while its siblings go on; what a run that is over left behind."""
    alive = {
        container.label("run")
        for _, facts in cluster.hosts()
        for container in facts[CONTAINERS].containers
        if container.running
    }
    for host, facts in cluster.hosts():
        for what in facts[CONTAINERS].unread:
            yield find("DOCKER001", what, host=host.name)
        for container in facts[CONTAINERS].containers:
            if container.running:
                continue
            code = "SERVE009" if container.label("run") in alive else "SERVE010"
            rank = container.label("rank")
            yield find(
                code,
                f"{container.name} ({container.label('recipe')}, rank {rank}) is "
                f"{container.state}, exit code {container.exit_code}",
                host=host.name,
            )


def servers(cluster: Cluster) -> Iterator[Finding]:
    """A server that ended while its container runs on; a rank that ended while its container runs
    on and the server answers."""
    for found in running(cluster.facts):
        if down := server_down(found, cluster.facts):
            yield find("SERVE015", down.removesuffix("."), host=found.host)
        for gone in off_gpu(found, cluster.facts):
            said = f"{found.recipe} (rank {gone.rank}) is dead{gone.how}"
            yield find("RDMA016", said, host=gone.host)


def _running(facts: Facts) -> list[Container]:
    return [container for container in facts[CONTAINERS].containers if container.running]


def _own_pids(facts: Facts) -> set[int]:
    return {pid for container in _running(facts) for pid, _ in container.processes}


def orphans(_: Host, facts: Facts) -> Iterator[Finding]:
    """Processes on the GPU that are in no container of ours."""
    names = {process.pid: process.name for process in facts[GPU].processes}
    own = _own_pids(facts)
    strangers = [o for o in facts[GPU_STATE].owners if o.pid in names and o.pid not in own]
    for owner in strangers:
        what = f"{names[owner.pid]} (pid {owner.pid}) holds the GPU"
        if owner.container:
            yield find(
                "SERVE011",
                f"{what} from container {owner.container[:12]}, which is not ours",
                severity=Severity.NOTE,
                fix=f"docker stop {owner.container[:12]}, if it is not wanted",
            )
        else:
            yield find(
                "SERVE011",
                f"{what} and belongs to no container",
                fix=f"kill {owner.pid}, if it is not wanted; if it stays, reboot the host",
            )


def ports(_: Host, facts: Facts) -> Iterator[Finding]:
    """Strangers on the ports of Ray and of the API."""
    own = _own_pids(facts)
    wanted = {RAY, DASHBOARD, API}
    for container in _running(facts):
        wanted |= {int(p) for p in container.label("ports").split(",") if p}
    for port in sorted(wanted & set(facts[PORTS].listening)):
        who = facts[PORTS].listening[port]
        pids = [int(pid) for pid in _PID.findall(who)]
        ours = any(pid in own for pid in pids) or (bool(own) and not pids)
        if not ours:
            names = ", ".join(dict.fromkeys(_NAME.findall(who))) or "another process"
            pid = f" (pid {pids[0]})" if pids else ""
            yield find("SERVE005", f"port {port} is held by {names}{pid}")


RULES = (containers, servers, *each_host(docker, orphans, ports))
