"""The engine on the head: who has joined Ray, how far the server is, whether it answers."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.shell import quote
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.serving import api, milestones, ray

_HEALTH = "@@health"

#: Enough for every milestone of vLLM's start and the traceback of its end.
_LOG_LINES = 2000


def _ray_script(context: ProbeContext) -> str:
    deployment = context.deployment
    if deployment is None or deployment.head != context.host.name:
        return "true"
    name = deployment.container(deployment.head).name
    return ray.nodes_script(deployment.ray_dashboard_port, name)


RAY = Fact("ray", _ray_script, ray.parse, across=True)


@dataclass(frozen=True)
class ServerFact:
    """`progress` is read from the log, `healthy` from /health."""

    progress: milestones.Progress
    healthy: bool = False


def _server_script(context: ProbeContext) -> str:
    deployment = context.deployment
    if deployment is None or deployment.head != context.host.name:
        return "true"
    name = quote(deployment.container(deployment.head).name)
    return (
        f"docker logs --tail {_LOG_LINES} {name} 2>&1 || true\n"
        f"echo '{_HEALTH}'\n{api.health_script(deployment.port)}"
    )


def parse_server(text: str) -> ServerFact:
    log, _, health = text.rpartition(f"{_HEALTH}\n") if _HEALTH in text else (text, "", "")
    return ServerFact(milestones.read(log), api.parse_health(health).ok)


SERVER = Fact("server", _server_script, parse_server, across=True)
