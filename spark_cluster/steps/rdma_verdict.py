"""Counters, tokens, counters: does the running model speak RDMA? Asks the containers' labels what
runs, so it needs no state and no recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from pydantic import Field

from spark_cluster.core.reason import Reason
from spark_cluster.core.step import Assessment, Traffic, skip
from spark_cluster.core.words import sentence
from spark_cluster.document import Document
from spark_cluster.facts.base import Facts
from spark_cluster.facts.container_access import CONTAINER_ACCESS
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.ended import SERVER_END
from spark_cluster.facts.engine import ENGINE
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.rdma import COUNTERS, GIDS, NCCL
from spark_cluster.inventory.models import Inventory
from spark_cluster.rdma import nccl_releases
from spark_cluster.rdma.causes import Setting, causes, from_a_file
from spark_cluster.rdma.counters import CounterReading
from spark_cluster.rdma.evidence import Rank, Work
from spark_cluster.rdma.nccl_log import NcclWitness
from spark_cluster.rdma.verdict import Verdict, judge
from spark_cluster.serving import api, metrics
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.view import View
from spark_cluster.workload.served import (
    HostFacts,
    Served,
    container_of,
    dead,
    missing,
    ranks,
    server_down,
    to_verify,
)

#: What a verdict needs of each reading, and what it needs once.
MOVING = (COUNTERS, ENGINE, CONTAINERS, SERVER_END, GPU, GIDS)
STANDING = (NCCL, CONTAINER_ACCESS)

#: Tokens of one request: few enough to be through within `seconds` on a slow model.
_CHUNK = 64

#: A dead rank behind a server that calls itself healthy; a server that ended in its container.
DEAD_RANK = "RDMA016"
SERVER_DOWN = "SERVE015"

#: Our own request was not answered: nothing is known of the transport, whatever speaks against it.
_NO_TOKENS = "RDMA013"


class Params(Document):
    """`tokens` to generate; `seconds` that a request for 64 of them may take."""

    tokens: int = Field(default=32, ge=1, le=100_000)
    seconds: float = Field(default=120.0, gt=0)


def generate(view: View, params: Params) -> Traffic | None:
    """The traffic. A group with a dead rank is not asked: the request would hang for its whole
    limit, or end the server, and the evidence with it."""
    found = to_verify(view.all_facts)
    if found is None or found.host != view.name or not found.spans:
        return None
    if server_down(found, view.all_facts) or dead(found, view.all_facts):
        return None
    requests = -(-params.tokens // _CHUNK)
    script = api.generate_script(
        found.port, found.head.label("model"), params.tokens, timeout=params.seconds, chunk=_CHUNK
    )
    if found.has_key:
        script = api.with_key(script, found.head.name)
    return Traffic(view.name, script, requests * params.seconds + 15)


def verdict(view: View) -> Verdict | None:
    """The verdict after the traffic; None while nothing of ours runs."""
    if view.before is None:
        return None
    answer = api.parse_completion(view.output) if view.output is not None else None
    return evaluate(view.before, view.all_facts, view.inventory, answer=answer)


def evaluate(
    before: HostFacts,
    after: HostFacts,
    inventory: Inventory,
    *,
    known: HostFacts | None = None,
    answer: api.Completion | None = None,
) -> Verdict | None:
    """The verdict on what runs between two readings; None while nothing of ours runs.

    A host that was not read is missing in `before` or `after`; `known` has what was last read of
    it. `answer` is what our own request got; without one the traffic is that of others, and its
    tokens are known from the server's metrics alone.
    """
    last = known if known is not None else {**before, **after}
    found = to_verify(last)
    if found is None:
        return None
    who = ranks(found, last, inventory)
    witnesses = {
        rank.rank: witness
        for rank in who
        if (witness := last.get(rank.host, Facts()).get(NCCL)) is not None
    }
    work = _work(found, before, after, answer)
    result = judge(who, _counters(before), _counters(after), work, witnesses)
    settings = [_setting(found, rank, before, after, last, inventory) for rank in who]
    found_causes = [cause for setting in settings for cause in causes(setting)]
    down = server_down(found, after)
    gone = dead(found, before) or dead(found, after)
    asked = _unanswered(answer)
    if answer is None and work.tokens is None and not (down or gone):
        asked = _uncounted(found, before, after)
    reasons = [
        *_said("server-down", [down] if down else []),
        *_said("dead-rank", (each.what for each in gone)),
        *asked,
        *_said("no-container", missing(found, last)),
        *result.reasons,
        *found_causes,
        *_said("nccl-conf", (said for setting in settings for said in from_a_file(setting))),
        *_said("nccl-release", _known_bad(witnesses)),
    ]
    return replace(
        result,
        reasons=_once(reasons),
        code=_code(result, found_causes, answer, down=bool(down), gone=bool(gone)),
        causes=tuple(dict.fromkeys(cause.code for cause in found_causes)),
    )


def _once(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Without those whose words were said already: a rule and a cause may both name a device."""
    first: dict[str, Reason] = {}
    for reason in reasons:
        first.setdefault(reason.text, reason)
    return tuple(first.values())


def _said(code: str, texts: Iterable[str]) -> Iterator[Reason]:
    return (Reason(code, text) for text in texts)


def _code(
    result: Verdict,
    found: list[Reason],
    answer: api.Completion | None,
    *,
    down: bool,
    gone: bool,
) -> str | None:
    """What is down comes first; then a cause is nearer than the verdict's own diagnosis, where it
    can be one: why tokens did not travel by RDMA, and not why there were none."""
    if result.kind != "rdma" and (down or gone):
        return SERVER_DOWN if down else DEAD_RANK
    if result.kind == "unknown" and not result.tokens and answer is not None and not answer.ok:
        return _NO_TOKENS
    if found and result.tokens and result.kind in ("socket", "partial", "unknown"):
        return found[0].code
    return result.code


def _counters(facts: HostFacts) -> Mapping[str, CounterReading | None]:
    return {name: read.get(COUNTERS) for name, read in facts.items()}


def _metrics(found: Served, facts: HostFacts) -> metrics.Metrics:
    engine = facts.get(found.host, Facts()).get(ENGINE)
    return engine.metrics if engine else metrics.Metrics()


def _work(
    found: Served, before: HostFacts, after: HostFacts, answer: api.Completion | None
) -> Work:
    """The tokens of everybody, where the server's metrics tell them; else those of our request."""
    first, second = _metrics(found, before), _metrics(found, after)
    tokens = metrics.generated(first, second)
    prompt = metrics.prompted(first, second) or 0
    seconds = _seconds(found, before, after)
    running = second.running
    if answer is None:  # what arrived a moment ago is not stuck
        running = min(first.running or 0.0, running or 0.0)
    else:
        tokens = max(answer.completion_tokens, tokens or 0) if answer.ok else tokens
        prompt = max(answer.prompt_tokens, prompt)
        seconds = answer.seconds or seconds
    return Work(tokens, seconds, prompt, None if running is None else round(running))


def _seconds(found: Served, before: HostFacts, after: HostFacts) -> float:
    """Between the readings, by the head's own clock."""
    uptimes = [_counters(facts).get(found.host) for facts in (before, after)]
    first, second = (reading.uptime if reading else None for reading in uptimes)
    return max(0.0, second - first) if first is not None and second is not None else 0.0


def _unanswered(answer: api.Completion | None) -> list[Reason]:
    """Why our own request has no tokens."""
    if answer is None or answer.ok:
        return []
    why = sentence(f"The server gave no tokens: {answer.error or answer.status}")
    return [Reason("unanswered", why)]


def _uncounted(found: Served, before: HostFacts, after: HostFacts) -> list[Reason]:
    """Why the tokens of others are not known: a page that did not come, or another engine's."""
    for facts in (before, after):
        page = _metrics(found, facts)
        if page.error and not page.status:
            why = sentence(f"The server's /metrics on {found.host} gave no answer: {page.error}")
            return [Reason("no-metrics", why)]
    return [
        Reason(
            "uncounted-tokens",
            "The server's /metrics do not count generated tokens as vLLM's do; without --live and "
            "--watch, tokens of our own are counted.",
        )
    ]


def _setting(
    found: Served,
    rank: Rank,
    before: HostFacts,
    after: HostFacts,
    last: HostFacts,
    inventory: Inventory,
) -> Setting:
    facts = last.get(rank.host, Facts())
    now, then = after.get(rank.host, Facts()), before.get(rank.host, Facts())
    container = container_of(found, facts, rank.rank)
    grants = (facts.get(CONTAINER_ACCESS) or {}).get(container.name) if container else None
    host = inventory.hosts.get(rank.host)
    return Setting(
        rank=rank,
        grants=grants,
        reading=now.get(COUNTERS),
        gids=now.get(GIDS),
        gids_before=then.get(GIDS),
        witness=facts.get(NCCL),
        addresses={rail.device: rail.ip for rail in host.rails} if host else {},
    )


def _known_bad(witnesses: Mapping[int, NcclWitness]) -> list[str]:
    if all(witness.ended_well for witness in witnesses.values()):
        return []
    versions = dict.fromkeys(witness.version for witness in witnesses.values())
    size = max([len(witnesses), *(witness.nranks or 0 for witness in witnesses.values())])
    return [
        said for version in versions for said in nccl_releases.told(version, size, doubtful=False)
    ]


@step(
    "rdma-verdict",
    "Check that tokens travel by RDMA on every rank",
    Params,
    reads=(*MOVING, *STANDING),
    traffic=generate,
)
def rdma_verdict(view: View, _: Params) -> Assessment:
    found = to_verify(view.all_facts)
    if found is None or found.host != view.name:
        return skip("rank 0 is not here")
    if not found.spans:
        return skip(f"{found.recipe} runs on one host: nothing travels between hosts")
    result = verdict(view)
    if result is None:
        return skip("nothing was generated")
    if result.kind == "rdma":
        return Assessment(notes=(f"verdict rdma: {result.reasons[0]}" if result.reasons else "",))
    return Assessment(
        problems=(problem(result.code or "RDMA014", f"verdict {result.kind}: {result.reasons[0]}"),)
    )
