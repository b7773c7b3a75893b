"""The engine comes up: Ray's head, the workers, the server, the first token.

The head is asked. The workers wait with it, silently, so that a rank that dies is seen at once.
"""

from __future__ import annotations

from pydantic import Field

from spark_cluster.core.step import Assessment, Change, Problem, Step, Stimulus, skip
from spark_cluster.document import Document
from spark_cluster.engines.spec import docker_exec
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.serving import RAY, SERVER
from spark_cluster.serving import api, ray
from spark_cluster.serving.apis import APIS
from spark_cluster.steps.base import NoParams, problem
from spark_cluster.steps.view import View


class Ready(Document):
    """`minutes` to wait; encoder profiling alone takes up to an hour on a first start."""

    minutes: float = Field(default=100.0, gt=0)


class Patience(Document):
    """`seconds` to wait."""

    seconds: float = Field(default=180.0, gt=0)


class FirstToken(Document):
    """`seconds` to wait; without them what the recipe says, for some engines load the model with
    the first request."""

    seconds: float | None = Field(default=None, gt=0)


_NOT_HEAD = "only the head is asked"


def _dead_rank(view: View) -> Problem | None:
    """A container of this deployment that is not running any more, on any host."""
    for spec in view.serving.containers:
        container = view.all_facts[spec.host][CONTAINERS].named(spec.name)
        if container is not None and not container.running:
            return problem(
                "SERVE009",
                f"{spec.name} on {spec.host} is {container.state}, exit code {container.exit_code}",
                f"docker logs {spec.name} on {spec.host} says why; then `spark-cluster teardown`.",
            )
    return None


def ray_head(view: View, _: Patience) -> Assessment:
    """Ray's head answers, so that workers can join."""
    return _ray(view, [view.serving.addresses[view.serving.head]], 1.0)


def ray_joined(view: View, _: Patience) -> Assessment:
    """All hosts are ALIVE in Ray and bring their GPUs: before that, TP=2 would see one GPU."""
    addresses = list(view.serving.addresses.values())
    return _ray(view, addresses, float(len(addresses)))


def _ray(view: View, addresses: list[str], gpus: float) -> Assessment:
    if view.serving.ray_dashboard_port is None:
        return skip(f"{view.serving.engine} starts without Ray")
    dead = _dead_rank(view)
    if dead is not None:
        return Assessment(problems=(dead,))
    status = view.all_facts[view.serving.head][RAY]
    missing = tuple(ray.joined(status, addresses, gpus))
    note = f"{status.active} nodes ALIVE, {status.gpus_total or 0:g} GPUs"
    return _for_all(view, Assessment(waiting=missing, notes=(note,)))


def _for_all(view: View, head: Assessment) -> Assessment:
    """The head's outcome on the head; elsewhere a silent wait while the head waits."""
    if view.is_head:
        return head
    return Assessment(waiting=("",)) if head.waiting else Assessment()


def serve(view: View, _: NoParams) -> Assessment:
    """The server's process runs in the head's container."""
    command = view.serving.serve
    if command is None:
        return skip(f"{view.serving.engine}: the container itself is the server")
    if not view.is_head:
        return skip(_NOT_HEAD)
    container = view.facts[CONTAINERS].named(command.container)
    if container is not None and container.runs(command.title):
        return Assessment(notes=(f"{command.title} runs",))
    what = f"{command.title} {view.serving.model} in {command.container}"
    return Assessment(
        changes=(Change(what, "not started", "running", docker_exec(command) + "\n"),)
    )


def ready(view: View, _: Ready) -> Assessment:
    """The log's milestones are through and the API answers; a failure in the log ends the wait."""
    dead = _dead_rank(view)
    if dead is not None:
        return Assessment(problems=(dead,))
    server = view.all_facts[view.serving.head][SERVER]
    progress = server.progress
    if progress.failure is not None:
        fault = problem("SERVE007", progress.failure, progress.remedy)
        failed = Assessment(problems=(fault,), notes=progress.tail)
        return failed if view.is_head else Assessment(skipped="the head failed")
    if not server.healthy:
        waiting = progress.current or "the server's first line"
        return _for_all(view, Assessment(waiting=(waiting,)))
    name = view.serving.client_model
    if not APIS[view.serving.api].has_model(server.models, name):
        waiting = progress.current or f"{name} is not listed yet"
        return _for_all(view, Assessment(waiting=(waiting,)))
    return _for_all(view, Assessment(notes=("the API answers",)))


def ask_canary(view: View, params: FirstToken) -> Stimulus | None:
    if not view.is_head:
        return None
    seconds = _patience(view, params)
    script = APIS[view.serving.api].canary(
        view.serving.port, view.serving.client_model, timeout=seconds
    )
    if view.spec.has_key:
        script = api.with_key(script, view.spec.name)
    return Stimulus(view.name, script, seconds + 10)


def _patience(view: View, params: FirstToken) -> float:
    return params.seconds or view.serving.first_token_seconds


def canary(view: View, params: FirstToken) -> Assessment:
    """A real token came back: /health alone stays 200 when a worker is dead."""
    if not view.is_head:
        return skip(_NOT_HEAD)
    answer = APIS[view.serving.api].parse_canary(view.output or "")
    if answer.ok and answer.completion_tokens > 0:
        return Assessment(notes=(f"{answer.completion_tokens} token in {answer.seconds:.1f} s",))
    why = answer.error or f"HTTP {answer.status}, {answer.completion_tokens} tokens"
    return Assessment(
        problems=(problem("SERVE007", f"no token within {_patience(view, params):.0f} s: {why}"),)
    )


_SERVER_FACTS = (SERVER.name, CONTAINERS.name)

STEPS = (
    Step(
        "ray-head",
        "Ray's head answers",
        Patience,
        (RAY.name, CONTAINERS.name),
        ray_head,
        wait=lambda params: float(params.seconds),
    ),
    Step(
        "ray-joined",
        "All hosts and GPUs have joined Ray",
        Patience,
        (RAY.name, CONTAINERS.name),
        ray_joined,
        wait=lambda params: float(params.seconds),
    ),
    Step(
        "serve",
        "The server is started",
        NoParams,
        (CONTAINERS.name,),
        serve,
        affects=(CONTAINERS.name, SERVER.name),
    ),
    Step(
        "ready",
        "The model is loaded and the server answers",
        Ready,
        _SERVER_FACTS,
        ready,
        wait=lambda params: float(params.minutes * 60),
    ),
    Step(
        "canary",
        "The server gives a token",
        FirstToken,
        (CONTAINERS.name,),
        canary,
        stimulus=ask_canary,
    ),
)
