"""What of ours serves, read from the labels of the containers that run: the group, its ranks with
their rails, and what of them is dead: ranks, or the server. Needs no state and no recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spark_cluster.core.words import sentence
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS, Container
from spark_cluster.facts.ended import SERVER_END, TITLES, Ended
from spark_cluster.facts.engine import ENGINE
from spark_cluster.facts.gpu import GPU
from spark_cluster.inventory.models import Inventory
from spark_cluster.rdma.evidence import Rail, Rank
from spark_cluster.rdma.volume import parse_need

HostFacts = Mapping[str, Facts]

#: What docker, or its records, call a container that ran and runs no more.
ENDED = ("exited", "dead", "ended")


@dataclass(frozen=True)
class Served:
    """`host` and `head` are rank 0's; `hosts` is the group in the order of the ranks."""

    host: str
    head: Container
    hosts: tuple[str, ...]

    @property
    def spans(self) -> bool:
        """Whether it runs on several hosts, so that something travels between them."""
        return len(self.hosts) > 1

    @property
    def port(self) -> int:
        return int(self.head.label("port"))

    @property
    def has_key(self) -> bool:
        """Whether the server asks for a key, which its container has."""
        return bool(self.head.label("key"))

    @property
    def recipe(self) -> str:
        return self.head.label("recipe")

    @property
    def run(self) -> str:
        """The launch that made it; its name sorts by time."""
        return self.head.label("run")

    @property
    def api(self) -> str:
        return self.head.label("api") or "openai"

    def as_dict(self) -> dict[str, object]:
        """As the journal keeps it beside a verdict."""
        return {
            "recipe": self.recipe,
            "model": self.head.label("model"),
            "run": self.run,
            "hosts": list(self.hosts),
        }


def served(facts: HostFacts) -> Served | None:
    """What runs, by its head's container, the newest launch first; None if no head of ours runs on
    these hosts."""
    return next(iter(running(facts)), None)


def to_verify(facts: HostFacts) -> Served | None:
    """What a verdict is about: of what runs the newest that spans hosts; what runs on one host, if
    nothing else does; None if no head of ours runs on these hosts."""
    return next(iter(sorted(running(facts), key=lambda each: not each.spans)), None)


def beside(found: Served, facts: HostFacts) -> list[Served]:
    """What else runs, the newest launch first."""
    return [each for each in running(facts) if each != found]


def running(facts: HostFacts) -> list[Served]:
    """Everything that runs, the newest launch first."""
    return [each for each in heads(facts) if each.head.running]


def heads(facts: HostFacts) -> list[Served]:
    """What runs or has ended, by its head's container, the newest launch first."""
    found = []
    for name, readings in facts.items():
        for container in _containers(readings):
            is_head = container.label("role") == "head" and bool(container.label("port"))
            if is_head and (container.running or container.state in ENDED):
                hosts = tuple(host for host in container.label("group").split(",") if host)
                found.append(Served(name, container, hosts or (name,)))
    return sorted(found, key=lambda each: (each.run, len(each.hosts)), reverse=True)


def _containers(facts: Facts) -> tuple[Container, ...]:
    found = facts.get(CONTAINERS)
    return found.containers if found else ()


def container_of(found: Served, facts: Facts, rank: int) -> Container | None:
    """The container of a rank of this group, whatever its state."""
    for container in _containers(facts):
        if container.label("rank") == str(rank) and container.label("recipe") == found.recipe:
            return container
    return None


def ranks(found: Served, facts: HostFacts, inventory: Inventory) -> tuple[Rank, ...]:
    """All ranks of the group; one whose container is not known has no rails."""
    result = []
    for number, host in enumerate(found.hosts):
        container = container_of(found, facts.get(host, Facts()), number)
        devices = [d for d in container.label("devices").split(",") if d] if container else []
        rails = tuple(Rail(d, _netdev(inventory, host, d)) for d in devices)
        need = parse_need(container.label("bytes-per-token")) if container else None
        result.append(Rank(host, number, rails, need))
    return tuple(result)


def _netdev(inventory: Inventory, host: str, device: str) -> str:
    known = inventory.hosts.get(host)
    rails = known.rails if known else ()
    return next((rail.interface for rail in rails if rail.device == device), "")


def healthy(found: Served, facts: HostFacts) -> bool:
    """Whether /health answers 200."""
    engine = facts.get(found.host, Facts()).get(ENGINE)
    return engine is not None and engine.healthy is True


def missing(found: Served, facts: HostFacts) -> list[str]:
    """Ranks whose host was read and has no container of this group."""
    return [
        f"{host} (rank {number}) has no container of {found.recipe}."
        for number, host in enumerate(found.hosts)
        if host in facts and container_of(found, facts[host], number) is None
    ]


def ended_in(head: Container, facts: Facts) -> Ended | None:
    """The server's end inside a head's container that runs on; None if it runs, or nobody knows."""
    if not head.running or not head.processes or any(head.runs(title) for title in TITLES):
        return None
    return (facts.get(SERVER_END) or {}).get(head.name)


def ended(found: Served, facts: HostFacts) -> Ended | None:
    """The end of the server of this group, as `ended_in`."""
    return ended_in(found.head, facts.get(found.host, Facts()))


def server_down(found: Served, facts: HostFacts) -> str:
    """A sentence about the server's end, with the ranks that died; empty if it has not ended."""
    end = ended(found, facts)
    if end is None:
        return ""
    server = f"The server in {found.head.name} on {found.host}"
    return sentence(f"{server} {end.how(found.hosts)}")


@dataclass(frozen=True)
class DeadRank:
    """A rank that is gone; `how` goes on after "is dead"."""

    host: str
    rank: int
    how: str

    @property
    def name(self) -> str:
        return f"{self.host} (rank {self.rank})"

    @property
    def what(self) -> str:
        """A sentence about it."""
        return f"{self.name} is dead{self.how}."


def dead(found: Served, facts: HostFacts) -> list[DeadRank]:
    """Ranks that are gone: a container that ended, or one without a process on the GPU while the
    server says that it is healthy. Ollama's holds the GPU only while a model is loaded."""
    return [*_ended_ranks(found, facts), *off_gpu(found, facts)]


def _ranks_containers(found: Served, facts: HostFacts) -> Iterator[tuple[str, int, Container]]:
    """Each rank's host, its number, and its container, where one is."""
    for number, host in enumerate(found.hosts):
        container = container_of(found, facts.get(host, Facts()), number)
        if container is not None:
            yield host, number, container


def _ended_ranks(found: Served, facts: HostFacts) -> Iterator[DeadRank]:
    health = ", while /health answers 200" if healthy(found, facts) else ""
    for host, rank, container in _ranks_containers(found, facts):
        if not container.running:
            state = f"{container.name} is {container.state}, exit code {container.exit_code}"
            yield DeadRank(host, rank, f"{health}: {state}")


def off_gpu(found: Served, facts: HostFacts) -> Iterator[DeadRank]:
    """Ranks whose container runs, while no process of it is on the GPU and the server answers: a
    rank that is still starting has none either."""
    answers = _answers(found, facts)
    if not answers or found.api == "ollama":
        return
    for host, rank, container in _ranks_containers(found, facts):
        if container.running and holds_gpu(container, facts[host]) is False:
            gone = f"no process of {container.name} holds the GPU"
            yield DeadRank(host, rank, f", while {answers}: {gone}")


def _answers(found: Served, facts: HostFacts) -> str:
    """How the server shows that it had come up; empty if it does not."""
    if healthy(found, facts):
        return "/health answers 200"
    engine = facts.get(found.host, Facts()).get(ENGINE)
    counts = engine is not None and engine.metrics.generation_tokens is not None
    return "/metrics answers" if counts else ""


def holds_gpu(container: Container, facts: Facts) -> bool | None:
    """Whether one of its processes is on the GPU; None where nvidia-smi did not say."""
    gpu = facts.get(GPU)
    if gpu is None or not gpu.names:
        return None
    inside = {pid for pid, _ in container.processes}
    return any(process.pid in inside for process in gpu.processes)
