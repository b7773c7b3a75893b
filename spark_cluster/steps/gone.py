"""After a teardown: containers, ports and GPU processes of ours are gone, the memory is back."""

from __future__ import annotations

from pydantic import Field

from spark_cluster.core.step import Assessment, Problem, Step
from spark_cluster.core.units import human_bytes
from spark_cluster.document import Document
from spark_cluster.facts.docker import CONTAINERS, ContainersFact
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.storage import PORTS
from spark_cluster.steps.base import problem
from spark_cluster.steps.view import View

#: Other programs allocate meanwhile; less than this share of the memory before is a leak.
_MEMORY_SLACK = 0.98


class Params(Document):
    """`seconds`: how long the kernel may take to give everything back."""

    seconds: float = Field(default=60.0, gt=0)


def assess(view: View, _: Params) -> Assessment:
    problems = _left_over(view)
    notes: list[str] = []
    before, after = view.first[MEMORY].available, view.facts[MEMORY].available
    if view.first[CONTAINERS].containers:
        notes.append(f"memory available {human_bytes(before)} before, {human_bytes(after)} now")
    foreign = [process for process in view.facts[GPU].processes if process.pid not in _pids(view)]
    if foreign:
        names = ", ".join(f"{process.name} ({process.pid})" for process in foreign)
        notes.append(f"not ours and left alone on the GPU: {names}")
    waiting = tuple(fault.what for fault in problems)
    return Assessment(problems=tuple(problems), waiting=waiting, notes=tuple(notes))


def _left_over(view: View) -> list[Problem]:
    problems = [
        problem("SERVE008", f"container {container.name} is {container.state}")
        for container in view.facts[CONTAINERS].containers
    ]
    if view.facts[CONTAINERS].error:
        problems.append(problem("DOCKER001", f"docker says: {view.facts[CONTAINERS].error}"))
    listening = view.facts[PORTS].listening
    if not listening:
        problems.append(problem("HOST003", "ss lists no port at all, not even sshd's"))
    problems.extend(
        problem("SERVE008", f"port {port} is still in use by {listening[port] or 'a process'}")
        for port in _ports(view.first[CONTAINERS])
        if port in listening
    )
    ours = _pids(view)
    problems.extend(
        problem("SERVE008", f"GPU process {process.name} ({process.pid}) still runs")
        for process in view.facts[GPU].processes
        if process.pid in ours
    )
    before, after = view.first[MEMORY].available, view.facts[MEMORY].available
    if view.first[CONTAINERS].containers and after < before * _MEMORY_SLACK:
        problems.append(
            problem(
                "SERVE008",
                f"memory is not back: {human_bytes(before)} available before, "
                f"{human_bytes(after)} now",
            )
        )
    return problems


def _ports(first: ContainersFact) -> list[int]:
    return [
        int(port)
        for container in first.containers
        for port in container.label("ports").split(",")
        if port.isdigit()
    ]


def _pids(view: View) -> set[int]:
    return {pid for c in view.first[CONTAINERS].containers for pid, _ in c.processes}


STEP = Step(
    name="gone",
    title="Containers, ports, GPU processes gone; memory back",
    params=Params,
    reads=(CONTAINERS.name, PORTS.name, GPU.name, MEMORY.name),
    assess=assess,
    wait=lambda params: float(params.seconds),
)
