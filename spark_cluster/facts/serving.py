"""The engine: who has joined Ray, how far each rank is by its log, whether the server answers."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.framing import MARK, READ
from spark_cluster.core.shell import quote
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.docker import log_of_this_start
from spark_cluster.serving import api, milestones, ollama, ray
from spark_cluster.serving.apis import APIS

_HEALTH = f"{READ}health"

#: Enough for every milestone of vLLM's start and the traceback of its end.
_LOG_LINES = 2000


def _ray_script(context: ProbeContext) -> str:
    deployment = context.deployment
    if deployment is None or deployment.head != context.host.name:
        return "true"
    if deployment.ray_dashboard_port is None:
        return "true"
    name = deployment.container(deployment.head).name
    return ray.nodes_script(deployment.ray_dashboard_port, name)


RAY = Fact("ray", _ray_script, ray.parse, across=True)


@dataclass(frozen=True)
class ServerFact:
    """What one rank's log and, on the head, the server's API say.

    `progress` is read from the log of the host's container, `healthy` is the API's word; `models`
    are those that an API lists which is healthy without one.
    """

    progress: milestones.Progress
    healthy: bool = False
    models: tuple[str, ...] = ()


def _server_script(context: ProbeContext) -> str:
    deployment = context.deployment
    if deployment is None or context.host.name not in deployment.hosts:
        return "true"
    name = quote(deployment.container(context.host.name).name)
    script = f"""\
{log_of_this_start(name, tail=_LOG_LINES, times=True)} || true
echo; echo "{MARK}health"
"""
    if deployment.head == context.host.name:
        script += APIS[deployment.api].health(deployment.port)
    return script


def parse_server(text: str) -> ServerFact:
    log, _, answer = f"\n{text}\n".partition(f"\n{_HEALTH}\n")
    health = api.parse_health(answer)
    return ServerFact(milestones.read(log), health.ok, ollama.listed(health))


SERVER = Fact("server", _server_script, parse_server, across=True)
