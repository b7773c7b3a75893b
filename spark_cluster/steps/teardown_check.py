"""After a teardown: containers, processes and ports of ours are gone, the memory is back."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from spark_cluster.core.step import Assessment, Problem
from spark_cluster.core.units import human_bytes, number
from spark_cluster.document import Document
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.launch_snapshot import LAUNCH_SNAPSHOT
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.shared_memory import SHARED_MEMORY
from spark_cluster.facts.storage import PORTS
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.containers import by_hand, unread, without_docker
from spark_cluster.steps.view import View

#: What docker, the journal and the kernel's caches may have grown by meanwhile: this share of the
#: memory of before, or this many bytes.
_SLACK = 0.02
_SLACK_BYTES = 512 * 1024**2

#: Memory or hugepages are not back, and nothing of ours is left that could hold them.
NOT_BACK = "SERVE014"


class Params(Document):
    """`seconds`: how long the kernel may take to give everything back."""

    seconds: float = Field(default=60.0, gt=0)


@step(
    "teardown-check",
    "Check that containers, processes and ports are gone and the memory is back",
    Params,
    reads=(CONTAINERS, PORTS, GPU, MEMORY, SHARED_MEMORY, LAUNCH_SNAPSHOT),
    wait=lambda params: params.seconds,
    formerly=("gone",),
)
def teardown_check(view: View, _: Params) -> Assessment:
    problems = _left_over(view)
    waiting = tuple(fault.what for fault in problems)
    if view.facts[CONTAINERS].error:
        problems.insert(0, without_docker(view))
    problems += unread(view)
    if view.options.force:
        problems = [
            each if each.unknown else replace(each, remedy=by_hand(view)) for each in problems
        ]
    notes: list[str] = []
    if view.meant(view.first[CONTAINERS]):
        then, now = human_bytes(_memory_before(view)), human_bytes(view.facts[MEMORY].available)
        notes.append(f"memory available {then} {_since(view)}, {now} now")
    if not view.facts[GPU].names:
        notes.append("nvidia-smi does not answer: processes of ours were looked for with ps only")
    foreign = [process for process in view.facts[GPU].processes if process.pid not in _pids(view)]
    if foreign:
        names = ", ".join(f"{process.name} ({process.pid})" for process in foreign)
        notes.append(f"not ours and left alone on the GPU: {names}")
    return Assessment(problems=tuple(problems), waiting=waiting, notes=tuple(notes))


def _left_over(view: View) -> list[Problem]:
    fact = view.facts[CONTAINERS]
    said = [] if fact.error else [f"container {c.name} is {c.state}" for c in view.meant(fact)]
    said += _listening(view)
    on_gpu = {process.pid: process.name for process in view.facts[GPU].processes}
    running = view.facts[SHARED_MEMORY].processes
    for pid in sorted(_pids(view)):
        if pid in on_gpu:
            said.append(f"GPU process {on_gpu[pid]} ({pid}) still runs")
        elif pid in running:
            said.append(f"process {running[pid]} ({pid}) still runs")
    problems = [problem("SERVE008", what) for what in said]
    if not view.facts[PORTS].listening:
        problems.append(problem("HOST003", "ss lists no port at all, not even sshd's"))
    if not running:
        problems.append(problem("HOST003", "ps lists no process at all, not even its own"))
    if view.meant(view.first[CONTAINERS]) and not fact.containers and not problems:
        problems += _not_given_back(view)
    return problems


def _listening(view: View) -> list[str]:
    listening = view.facts[PORTS].listening
    return [
        f"port {port} is still in use by {listening[port] or 'a process'}"
        for port in _ports(view)
        if port in listening
    ]


def _not_given_back(view: View) -> list[Problem]:
    """What the kernel still counts as used, when nothing of ours is there to use it."""
    before, now = _memory_before(view), view.facts[MEMORY].available
    problems = []
    if now < before - max(before * _SLACK, _SLACK_BYTES):
        largest = ", ".join(
            f"{name} ({pid}) {human_bytes(size)}"
            for name, pid, size in view.facts[SHARED_MEMORY].largest
        )
        what = f"{human_bytes(before)} available {_since(view)}, {human_bytes(now)} now"
        whose = f"; the largest processes: {largest}" if largest else ""
        problems.append(problem(NOT_BACK, f"memory is not back: {what}{whose}"))
    pages = (
        view.facts[LAUNCH_SNAPSHOT].hugepages
        if view.facts[LAUNCH_SNAPSHOT].run
        else view.first[SHARED_MEMORY].hugepages
    )
    if view.facts[SHARED_MEMORY].hugepages > pages:
        what = f"{view.facts[SHARED_MEMORY].hugepages} hugepages in use, {pages} {_since(view)}"
        problems.append(problem(NOT_BACK, what))
    return problems


def _memory_before(view: View) -> int:
    """Bytes available before the launch, or when this teardown began if nobody wrote that down."""
    return view.facts[LAUNCH_SNAPSHOT].memory or view.first[MEMORY].available


def _since(view: View) -> str:
    return "before the launch" if view.facts[LAUNCH_SNAPSHOT].memory else "before the teardown"


def _ports(view: View) -> list[int]:
    found = (
        number(port)
        for container in view.meant(view.first[CONTAINERS])
        for port in container.label("ports").split(",")
    )
    return [port for port in found if port is not None]


def _pids(view: View) -> set[int]:
    return {pid for c in view.meant(view.first[CONTAINERS]) for pid, _ in c.processes}
