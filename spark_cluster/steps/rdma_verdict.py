"""Counters, tokens, counters: does the running model speak RDMA? Asks the containers' labels what
runs, so it needs no state and no recipe."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from spark_cluster.core.step import Assessment, Step, Stimulus, skip
from spark_cluster.document import Document
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS, Container
from spark_cluster.facts.rdma import COUNTERS, NCCL
from spark_cluster.inventory.models import Inventory
from spark_cluster.rdma.verdict import Rail, Rank, Verdict, Work, judge
from spark_cluster.serving import api
from spark_cluster.steps.base import problem
from spark_cluster.steps.view import View


class Params(Document):
    """`tokens` to generate; `seconds` that a request for 256 of them may take."""

    tokens: int = Field(default=32, ge=1, le=100_000)
    seconds: float = Field(default=300.0, gt=0)


def head(facts: Mapping[str, Facts]) -> tuple[str, Container] | None:
    """The host and the container of rank 0 of what runs, if anything does."""
    for name, readings in facts.items():
        for container in readings[CONTAINERS].containers:
            is_head = container.label("role") == "head" and container.label("port").isdigit()
            if container.running and is_head:
                return name, container
    return None


def ranks(facts: Mapping[str, Facts], inventory: Inventory) -> tuple[Rank, ...]:
    """The ranks as the containers' labels tell, with the rails that they were given."""
    found = []
    for name, readings in facts.items():
        for container in readings[CONTAINERS].containers:
            rank = container.label("rank")
            if rank.isdigit():
                devices = [d for d in container.label("devices").split(",") if d]
                rails = tuple(Rail(d, _netdev(inventory, name, d)) for d in devices)
                found.append(Rank(name, int(rank), rails))
    return tuple(sorted(found, key=lambda rank: rank.rank))


def _netdev(inventory: Inventory, host: str, device: str) -> str:
    rails = inventory.hosts[host].rails
    return next((rail.interface for rail in rails if rail.device == device), "")


def generate(view: View, params: Params) -> Stimulus | None:
    found = head(view.all_facts)
    if found is None or found[0] != view.name:
        return None
    container = found[1]
    requests = -(-params.tokens // api.CHUNK)
    script = api.generate_script(
        int(container.label("port")),
        container.label("model"),
        params.tokens,
        timeout=params.seconds,
    )
    return Stimulus(view.name, script, requests * params.seconds + 15)


def verdict(view: View) -> Verdict | None:
    """The verdict after the stimulus; None while nothing of ours runs."""
    found = head(view.all_facts)
    if found is None or view.before is None:
        return None
    answer = api.parse_completion(view.output or "")
    per_token = found[1].label("bytes-per-token")
    work = Work(
        tokens=answer.completion_tokens if answer.ok else None,
        seconds=answer.seconds,
        bytes_per_token=float(per_token) if per_token else None,
        prompt_tokens=answer.prompt_tokens,
    )
    who = ranks(view.all_facts, view.inventory)
    expected = len([host for host in found[1].label("group").split(",") if host])
    result = judge(
        who,
        {name: facts[COUNTERS] for name, facts in view.before.items()},
        {name: facts[COUNTERS] for name, facts in view.all_facts.items()},
        work,
        {rank.rank: view.all_facts[rank.host][NCCL] for rank in who},
    )
    reasons = result.reasons
    if not answer.ok:
        reasons = (f"The server gave no tokens: {answer.error or answer.status}.", *reasons)
    if len(who) < expected:
        reasons = (f"{len(who)} of {expected} ranks have a container.", *reasons)
    return Verdict(result.kind, reasons, result.rows, result.source)


def assess(view: View, _: Params) -> Assessment:
    found = head(view.all_facts)
    if found is None or found[0] != view.name:
        return skip("rank 0 is not here")
    result = verdict(view)
    if result is None:
        return skip("nothing was generated")
    if result.kind == "rdma":
        return Assessment(notes=(f"verdict rdma: {result.reasons[0]}" if result.reasons else "",))
    return Assessment(
        problems=(problem(result.code or "RDMA014", f"verdict {result.kind}: {result.reasons[0]}"),)
    )


STEP = Step(
    name="rdma-verdict",
    title="Tokens travel by RDMA on every rank",
    params=Params,
    reads=(COUNTERS.name, CONTAINERS.name, NCCL.name),
    assess=assess,
    stimulus=generate,
)
