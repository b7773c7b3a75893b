"""The engine comes up: Ray's head, the workers, the server, the first token.

The head is asked. The workers wait with it, silently, so that a rank that dies is seen at once, and
the logs of all ranks are read: the one that failed first says why.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from spark_cluster.core.step import Assessment, Change, Problem, Traffic, skip
from spark_cluster.document import Document
from spark_cluster.engines.spec import docker_exec
from spark_cluster.facts.clock import CLOCK
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.serving import RAY, SERVER
from spark_cluster.serving import api, milestones, ray
from spark_cluster.serving.apis import APIS
from spark_cluster.serving.failures import Failure
from spark_cluster.steps.base import NoParams, problem, step
from spark_cluster.steps.view import View

#: What a rank that ends is seen by.
_ENDING = (SERVER, CONTAINERS, CLOCK)


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

#: Seconds without a milestone after which what speaks for a failure is one, although the engine's
#: processes are still there. Shards and kernels report more often than that.
_STALLED_SECONDS = 600.0


def _ended(view: View) -> tuple[str, Problem] | None:
    """A container of this deployment that runs no more, and its host."""
    for spec in view.serving.containers:
        container = view.all_facts[spec.host][CONTAINERS].named(spec.name)
        if container is not None and not container.running:
            what = f"{spec.name} is {container.state}, exit code {container.exit_code}"
            remedy = f"`docker logs {spec.name}` on {spec.host} says why."
            return spec.host, problem("SERVE009", what, remedy)
    return None


def _server_gone(view: View) -> tuple[str, Problem] | None:
    """The server inside the head's container has ended, and the container lives on: no process has
    its title, by docker's list of them, which has others."""
    command = view.serving.serve
    if command is None:
        return None
    head = view.all_facts[command.host]
    container = head[CONTAINERS].named(command.container)
    if container is None or not container.processes or container.runs(command.title):
        return None
    status = head[SERVER].progress.exit_status
    how = "" if status is None else f", exit status {status}"
    what = f"{command.title} in {command.container} has ended{how}"
    remedy = f"`docker logs {command.container}` on {command.host} says why."
    return command.host, problem("SERVE007", what, remedy)


def _why(view: View) -> tuple[str, Failure] | None:
    """What speaks for a failure in the logs of all ranks, and the host that it is about."""
    hosts = view.serving.hosts
    logs = {name: view.all_facts[name][SERVER].progress for name in hosts}
    clocks = {name: view.all_facts[name][CLOCK].epoch for name in hosts}
    found = milestones.culprit(logs, clocks)
    if found is None:
        return None
    name, failure = found
    if failure.rank is not None and failure.rank < len(hosts):
        return hosts[failure.rank], failure
    about = {address: host for host, address in view.serving.addresses.items()}
    return about.get(failure.address, name), failure


def _standing(view: View) -> tuple[str, Failure] | None:
    """A rank whose log ends where its engine is known to stand still."""
    for name in view.serving.hosts:
        standing = view.all_facts[name][SERVER].progress.standing
        if standing is not None:
            return name, standing
    return None


def _failed(view: View, end: tuple[str, Problem]) -> Assessment:
    """The engine ended: told is the first cause in the ranks' logs. A consequence is told only if
    it is about another host than the one whose end is known."""
    host, fault = end
    found = _why(view)
    if found is not None and (not found[1].consequence or found[0] != host):
        host, failure = found
        fault = problem("SERVE007", failure.reason, failure.remedy)
    return _told(view, host, fault)


def _told(view: View, host: str, fault: Problem) -> Assessment:
    if view.name != host:
        return Assessment(skipped=f"{host} failed")
    tail = view.all_facts[host][SERVER].progress.tail
    return Assessment(problems=(fault,), notes=(*_consequences(view, host, fault), *tail))


def _consequences(view: View, culprit: str, fault: Problem) -> Iterator[str]:
    """What ended, and what the other ranks' logs say of it."""
    for end in (_ended(view), _server_gone(view)):
        if end is not None and end[1] != fault:
            yield f"{end[0]}: {end[1].what}"
    for name in view.serving.hosts:
        failure = view.all_facts[name][SERVER].progress.failure
        if name != culprit and failure is not None and failure.reason != fault.what:
            yield f"{name} says after it: {failure.reason}"


def _stalled(view: View) -> tuple[str, Problem] | None:
    """Something speaks for a failure, and no rank has come further for a long time since."""
    found = _why(view) or _standing(view)
    if found is None:
        return None
    host, failure = found
    quiet = min((_quiet(view, name) for name in view.serving.hosts), default=0.0)
    if quiet < _STALLED_SECONDS:
        return None
    what = f"{failure.reason}, and nothing has gone on for {quiet / 60:.0f} min"
    return host, problem("SERVE007", what, failure.remedy)


def _quiet(view: View, name: str) -> float:
    """Seconds since a rank's log told of progress or of a failure; endless if it never did, 0 where
    the time of it is not known."""
    now, log = view.all_facts[name][CLOCK].epoch, view.all_facts[name][SERVER].progress
    said = [item for item in (log.failure, log.standing) if item is not None]
    if not log.reached and not said:
        return float("inf")
    times = [log.advanced, *(item.time for item in said)]
    ages = [now - time for time in times if time is not None and now is not None]
    return min(ages, default=0.0)


@step(
    "ray-head",
    "Wait for Ray's head",
    Patience,
    reads=(RAY, *_ENDING),
    wait=lambda params: float(params.seconds),
)
def ray_head(view: View, _: Patience) -> Assessment:
    """Ray's head answers, so that workers can join."""
    return _ray(view, [view.serving.addresses[view.serving.head]], 1.0)


@step(
    "ray-joined",
    "Wait until all hosts and GPUs have joined Ray",
    Patience,
    reads=(RAY, *_ENDING),
    wait=lambda params: float(params.seconds),
)
def ray_joined(view: View, _: Patience) -> Assessment:
    """All hosts are ALIVE in Ray and bring their GPUs: before that, TP=2 would see one GPU."""
    addresses = list(view.serving.addresses.values())
    return _ray(view, addresses, float(len(addresses)))


def _ray(view: View, addresses: list[str], gpus: float) -> Assessment:
    if view.serving.ray_dashboard_port is None:
        return skip(f"{view.serving.engine} starts without Ray")
    if (end := _ended(view)) is not None:
        return _failed(view, end)
    status = view.all_facts[view.serving.head][RAY]
    missing = tuple(ray.joined(status, addresses, gpus))
    note = f"{status.active} nodes ALIVE, {status.gpus_total or 0:g} GPUs"
    return _for_all(view, Assessment(waiting=missing, notes=(note,)))


def _for_all(view: View, head: Assessment) -> Assessment:
    """The head's outcome on the head; elsewhere a silent wait while the head waits."""
    if view.is_head:
        return head
    return Assessment(waiting=("",)) if head.waiting else Assessment()


@step("serve", "Start the server", NoParams, reads=(CONTAINERS,), affects=(CONTAINERS, SERVER))
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


@step(
    "ready",
    "Wait until the model is loaded and the server answers",
    Ready,
    reads=_ENDING,
    wait=lambda params: float(params.minutes * 60),
)
def ready(view: View, _: Ready) -> Assessment:
    """The API answers and lists the model. What a log says ends the wait only if the engine has
    ended, or if nothing goes on after it."""
    if (end := _ended(view)) is not None:
        return _failed(view, end)
    server = view.all_facts[view.serving.head][SERVER]
    name = view.serving.client_model
    listed = APIS[view.serving.api].has_model(server.models, name)
    if server.healthy and listed:
        return _for_all(view, Assessment(notes=("the API answers",)))
    if (end := _server_gone(view)) is not None:
        return _failed(view, end)
    if (stalled := _stalled(view)) is not None:
        return _told(view, *stalled)
    first = "the server's first line" if not server.healthy else f"{name} is not listed yet"
    waiting = server.progress.current or first
    if (found := _why(view)) is not None:
        waiting += f"; the log of {found[0]} says: {found[1].reason}"
    return _for_all(view, Assessment(waiting=(waiting,)))


def ask_canary(view: View, params: FirstToken) -> Traffic | None:
    if not view.is_head:
        return None
    seconds = _patience(view, params)
    script = APIS[view.serving.api].canary(
        view.serving.port, view.serving.client_model, timeout=seconds
    )
    if view.spec.has_key:
        script = api.with_key(script, view.spec.name)
    return Traffic(view.name, script, seconds + 10)


def _patience(view: View, params: FirstToken) -> float:
    return params.seconds or view.serving.first_token_seconds


@step("canary", "Ask the server for a token", FirstToken, reads=(CONTAINERS,), traffic=ask_canary)
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
