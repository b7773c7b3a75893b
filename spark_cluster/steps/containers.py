"""The ranks' containers: running as specified, or gone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from spark_cluster.core.shell import quote
from spark_cluster.core.step import Assessment, Change, Step, skip
from spark_cluster.document import Document
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.secrets import SECRETS
from spark_cluster.facts.serving import RAY, SERVER
from spark_cluster.facts.storage import PORTS
from spark_cluster.steps.base import problem
from spark_cluster.steps.secrets import start
from spark_cluster.steps.view import View


class Params(Document):
    """`role` limits a launch to the head's or the workers' containers. `stop_seconds`: how long a
    container may take to end by itself before it is killed."""

    state: Literal["running", "absent"] = "running"
    role: Literal["head", "worker", "any"] = "any"
    stop_seconds: int = Field(default=20, ge=0, le=600)


def assess(view: View, params: Params) -> Assessment:
    fact = view.facts[CONTAINERS]
    if fact.error:
        return Assessment(problems=(problem("DOCKER001", f"docker says: {fact.error}"),))
    return _absent(view, params) if params.state == "absent" else _running(view, params)


def _running(view: View, params: Params) -> Assessment:
    spec = view.spec
    if params.role not in ("any", spec.role):
        return skip(f"it is the {spec.role}")
    current = view.facts[CONTAINERS].named(spec.name)
    if current is not None and current.label("spec") == spec.digest and current.running:
        return Assessment(notes=(f"{spec.name} runs since {current.started[:19]}",))
    if current is not None:
        said = f"{spec.name} is {current.state}, exit code {current.exit_code}"
        return Assessment(problems=(problem("SERVE009", said, f"docker logs {spec.name}"),))
    return Assessment(changes=(start(view),))


def _absent(view: View, params: Params) -> Assessment:
    seconds = 0 if view.options.force else params.stop_seconds
    changes = tuple(
        Change(
            f"container {container.name} ({container.label('recipe')}, rank "
            f"{container.label('rank')})",
            container.state,
            "gone",
            f"docker stop -t {seconds} {quote(container.name)} >/dev/null || true\n"
            f"docker rm --force --volumes {quote(container.name)} >/dev/null\n",
        )
        for container in view.facts[CONTAINERS].containers
    )
    return Assessment(changes=changes, notes=() if changes else ("nothing of ours is here",))


STEP = Step(
    name="containers",
    title="Containers",
    params=Params,
    reads=(CONTAINERS.name, SECRETS.name),
    assess=assess,
    affects=(CONTAINERS.name, MEMORY.name, PORTS.name, GPU.name, RAY.name, SERVER.name),
    timeout=300.0,
)
