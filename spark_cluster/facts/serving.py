"""The engine: who has joined Ray, how far each rank is by its log, whether the server answers."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.framing import MARK, READ
from spark_cluster.core.shell import ASK_DOCKER, quote
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.docker import log_of_this_start
from spark_cluster.facts.rdma import RANKS_FILES
from spark_cluster.serving import api, milestones, ollama, ray
from spark_cluster.serving.apis import APIS

_HEALTH = f"{READ}health"

#: Enough for every milestone of vLLM's start and the traceback of its end.
_LOG_LINES = 2000

#: Of each rank: what matters is the first one after its start, and few follow.
_WARNINGS = 50


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


def _warnings_script(container: str) -> str:
    """NCCL's warnings of the ranks on this host, from Ray's files: Ray copies few of their lines
    into the server's log, and a rank that ends at once takes its last ones along."""
    return f"""\
{RANKS_FILES}_pid=$({ASK_DOCKER} inspect --format '{{{{.State.Pid}}}}' {container} 2>/dev/null)
_root=/proc/$_pid/root
_session=$(ls -d "$_root"/tmp/ray/session_2* 2>/dev/null | tail -n 1)
[ -z "$_session" ] || for _f in $(_ranks_files); do
  grep -ahF 'NCCL WARN' "$_f" | tail -n {_WARNINGS}
done
"""


def _server_script(context: ProbeContext) -> str:
    deployment = context.deployment
    if deployment is None or context.host.name not in deployment.hosts:
        return "true"
    name = quote(deployment.container(context.host.name).name)
    script = f"{log_of_this_start(name, tail=_LOG_LINES, times=True)} || true\necho\n"
    if deployment.ray_dashboard_port is not None:
        script += _warnings_script(name)
    script += f'echo; echo "{MARK}health"\n'
    if deployment.head == context.host.name:
        script += APIS[deployment.api].health(deployment.port)
    return script


def parse_server(text: str) -> ServerFact:
    log, _, answer = f"\n{text}\n".partition(f"\n{_HEALTH}\n")
    health = api.parse_health(answer)
    return ServerFact(milestones.read(log), health.ok, ollama.listed(health))


SERVER = Fact("server", _server_script, parse_server, across=True)
