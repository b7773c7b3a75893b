"""The ranks' containers: running as specified, or gone."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from spark_cluster.core.labels import LABEL
from spark_cluster.core.ours import forget
from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change, Problem, skip
from spark_cluster.core.units import count
from spark_cluster.document import Document
from spark_cluster.facts.docker import CONTAINERS, Container
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.secrets import SECRETS
from spark_cluster.facts.serving import RAY, SERVER
from spark_cluster.facts.shared_memory import SHARED_MEMORY
from spark_cluster.facts.storage import PORTS
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.secrets import start
from spark_cluster.steps.view import View


class Params(Document):
    """`role` limits a launch to the head's or the workers' containers. `stop_seconds`: how long a
    container may take to end by itself before it is killed."""

    state: Literal["running", "absent"] = "running"
    role: Literal["head", "worker", "any"] = "any"
    stop_seconds: int = Field(default=20, ge=0, le=600)


def _titled(params: Params) -> str:
    if params.state == "absent":
        return "Remove the containers"
    whose = {"head": "the head's container", "worker": "the workers' containers"}
    return f"Start {whose.get(params.role, 'the containers')}"


@step(
    "containers",
    "Start the containers",
    Params,
    reads=(CONTAINERS, SECRETS, SERVER),
    titled=_titled,
    affects=(CONTAINERS, MEMORY, PORTS, GPU, RAY, SERVER, SHARED_MEMORY),
    timeout=900.0,
)
def containers(view: View, params: Params) -> Assessment:
    if params.state == "absent":
        return _absent(view, params)
    fact = view.facts[CONTAINERS]
    if fact.error:
        return Assessment(problems=(problem("DOCKER001", f"docker says: {fact.error}"),))
    return _running(view, params)


def _running(view: View, params: Params) -> Assessment:
    spec = view.spec
    if params.role not in ("any", spec.role):
        return skip(f"it is the {spec.role}")
    current = view.facts[CONTAINERS].named(spec.name)
    if current is not None and current.label("spec") == spec.digest and current.running:
        return Assessment(notes=(f"{spec.name} runs since {current.started[:19]}",))
    if current is not None:
        return Assessment(problems=(_ended(view, current),))
    return Assessment(changes=(start(view),))


def _ended(view: View, container: Container) -> Problem:
    """It has ended, perhaps as soon as it was started; its log may say why."""
    said = f"{container.name} is {container.state}, exit code {container.exit_code}"
    failure = view.facts[SERVER].progress.failure
    if failure is None:
        return problem("SERVE009", said, f"docker logs {container.name}")
    return problem("SERVE009", f"{said}: {failure.reason}", failure.remedy)


def _absent(view: View, params: Params) -> Assessment:
    fact = view.facts[CONTAINERS]
    meant = view.meant(fact)
    force = view.options.force
    if not fact.error:
        changes = tuple(_removed(each, params.stop_seconds, force=force) for each in meant)
        notes = (*(() if changes else (_nothing(view),)), *strangers(view))
        return Assessment(changes=changes, notes=notes)
    living = [each for each in meant if each.processes]
    if force and living:
        return Assessment(changes=tuple(_killed(each) for each in living))
    return Assessment(problems=(without_docker(view),))


def unread(view: View) -> list[Problem]:
    """Containers with our label of which nobody knows what they are: nothing is done to them."""
    remedy = (
        f"On {view.name}: `sudo docker ps --all --filter label={LABEL}.recipe`; remove what is "
        "yours there with `sudo docker rm --force NAME`."
    )
    said = view.facts[CONTAINERS].unread
    return [replace(problem("DOCKER001", what, remedy), unknown=True) for what in said]


def strangers(view: View) -> tuple[str, ...]:
    """A note of what was left alone though it has our labels."""
    names = ", ".join(view.facts[CONTAINERS].strangers)
    return (f"not ours and left alone, its image has our labels: {names}",) if names else ()


def without_docker(view: View) -> Problem:
    """Docker does not answer: what is left, and how to go on."""
    fact = view.facts[CONTAINERS]
    meant = view.meant(fact)
    living = [each.name for each in meant if each.processes]
    if living:
        left = f"; {', '.join(living)} runs without it"
    elif meant:
        left = f"; no process of {', '.join(each.name for each in meant)} runs, its record is left"
    else:
        left = "; its records hold no container of ours"
    remedy = None
    if living and not view.options.force:
        remedy = "`spark-cluster teardown --force` ends the processes without docker."
    elif meant:
        remedy = by_hand(view)
    return problem("DOCKER001", f"docker says: {fact.error}{left}", remedy)


def by_hand(view: View) -> str:
    """What to type on the host when a teardown with --force is not enough."""
    names = " ".join(quote(each.name) for each in view.meant(view.facts[CONTAINERS]))
    remove = f"sudo docker rm --force {names}".strip() if names else "sudo docker ps --all"
    return (
        f"On {view.name}: `sudo systemctl restart docker`, then `{remove}`; a process that "
        "outlives that (state D in `ps`) ends with `sudo reboot` only, of all hosts together."
    )


def _nothing(view: View) -> str:
    recipe = view.options.recipe
    return f"nothing of {recipe} is here" if recipe else "nothing of ours is here"


def _removed(container: Container, stop_seconds: int, *, force: bool) -> Change:
    """By docker: TERM first, then KILL. With `force` at once, docker has half a minute, and what
    is still there then is killed without it."""
    seconds = 0 if force else stop_seconds
    name = quote(container.name)
    stop = f"timeout -k 5 {seconds + 15} docker stop -t {seconds} {name} >/dev/null || true\n"
    remove = f"timeout -k 5 {15 if force else 60} docker rm --force --volumes {name} >/dev/null"
    if force:
        remove += f" || {{\n{_kill(container)}}}"
    commands = f"{stop}{remove}\n{forget(container.id)}"
    return Change(_title(container), container.state, "gone", commands)


def _killed(container: Container) -> Change:
    """Without docker. Its record of the container stays until docker answers again."""
    pids = count(len(container.processes), "pid")
    return Change(_title(container), f"running ({pids})", "killed", _kill(container))


def _title(container: Container) -> str:
    return (
        f"container {container.name} ({container.label('recipe')}, rank {container.label('rank')})"
    )


def _kill(container: Container) -> str:
    """KILL for the container's processes, if the kernel still has them in this very container."""
    pids = " ".join(str(pid) for pid, _ in container.processes)
    inside = quote(container.id or "docker")
    return (
        f"for _p in {pids}; do\n"
        f"  if grep -qsF {inside} /proc/$_p/cgroup; then kill -KILL $_p || true; fi\n"
        "done\n"
        "sleep 1\n"
    )
