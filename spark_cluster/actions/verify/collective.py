"""The links, then an all-reduce over them in a recipe's own image: as fast, and by RDMA?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from spark_cluster.actions.deploying import Choices, deploy, load_recipe, placement_of
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Outcome, activate, lost_results
from spark_cluster.actions.verify.probe import links, measure_links
from spark_cluster.core.error import InputError
from spark_cluster.core.event import Event, as_json
from spark_cluster.core.result import Result, Status
from spark_cluster.engines.collective import specs
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import Deployment
from spark_cluster.inventory.models import Inventory
from spark_cluster.rdma import bandwidth, collective, nccl_log
from spark_cluster.rdma.bandwidth import Finding
from spark_cluster.rdma.collective import SIZES, Link, Said, Timed
from spark_cluster.rdma.evidence import Rail, Rank
from spark_cluster.rdma.nccl_log import NcclWitness
from spark_cluster.rdma.verdict import Verdict, judge
from spark_cluster.runner import bandwidth as runner
from spark_cluster.runner.collective import STEP, AllReduce, Ran
from spark_cluster.runner.history import past_runs
from spark_cluster.runner.journal import new_run
from spark_cluster.runner.request import RunRequest

#: Seconds of a size; of everything: the slowest that is worth waiting for is some 0.1 GB/s.
_SECONDS, _LIMIT = 1.0, 240


@dataclass(frozen=True)
class CollectiveStarted(Event):
    """The ranks are started now, in this image; `sizes` are bytes."""

    kind: str = field(default="collective_started", init=False)
    recipe: str
    image: str
    hosts: tuple[str, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class CollectiveMeasured(Event):
    """What the all-reduce reached, beside the slowest link that it used (None if that was not
    measured), and whether it went by RDMA (None if it did not come to its end). `nccl` is the
    release that the ranks' logs name."""

    kind: str = field(default="collective", init=False)
    recipe: str
    image: str
    hosts: tuple[str, ...]
    torch: str
    nccl: str | None
    sizes: tuple[Timed, ...]
    link: Link | None
    verdict: Verdict | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Job:
    deployment: Deployment
    placement: Placement

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(self.deployment.hosts)

    @property
    def rails(self) -> dict[str, tuple[str, ...]]:
        """The interfaces that each host's rank may use."""
        pairs = zip(self.hosts, self.placement.rails, strict=True)
        return {host: tuple(rail.interface for rail in rails) for host, rails in pairs}

    @property
    def ranks(self) -> list[Rank]:
        return [
            Rank(host, number, tuple(Rail(rail.device, rail.interface) for rail in rails))
            for number, (host, rails) in enumerate(
                zip(self.hosts, self.placement.rails, strict=True)
            )
        ]


def verify_collective(
    inventory: Inventory,
    recipe: str | None,
    choices: Choices,
    operator: Operator,
    *,
    seconds: int = 5,
    both: bool = True,
) -> Outcome:
    """Measure the links of the recipe's hosts (`seconds` and `both` as in `probe`), then an
    all-reduce in its image; `recipe` None means the one that was launched last from here. Exit code
    0 if it went by RDMA and nothing is found, 3 if a host is away, else 4.

    Raises InputError for a recipe on one host, CheckFailed where something runs or is missing:
    nothing was started then. What raises later leaves no container behind.
    """
    run = new_run()
    job = _job(inventory, recipe or _last(inventory), choices, run)
    wanted = links(inventory, job.hosts, both=both)
    request = RunRequest(
        verb="verify-rdma",
        playbook="verify-rdma",
        hosts=job.hosts,
        inventory=inventory,
        deployment=job.deployment,
        run=run,
    )
    with activate(request, operator) as active:
        ranks = AllReduce(active.session, active.listener, _LIMIT)
        port = ranks.look(job.deployment.head, job.deployment.image)
        rows, slow = measure_links(active, wanted, seconds, operator)
        name, image = job.deployment.recipe, job.deployment.image
        active.listener(CollectiveStarted(name, image, job.hosts, SIZES))
        ran = ranks.run(
            specs(job.deployment, port=port, sizes=SIZES, seconds=_SECONDS, limit=_LIMIT)
        )
        link = collective.slowest_link(rows, job.rails)
        measured = judged(job, ran, link)
        active.listener(measured)
        lost = lost_results(active.session, STEP)
        proved = measured.verdict is not None and measured.verdict.kind == "rdma"
        code = 3 if lost else 0 if proved and not (slow or measured.findings) else 4
        data = {
            "bandwidth": bandwidth.as_data(rows),
            "findings": as_json([*slow, *measured.findings]),
            "collective": as_json(measured),
        }
        every = [*runner.results(rows), *_results(job, ran), *lost]
        return active.finish(every, data=data, code=code)


def _job(inventory: Inventory, name: str, choices: Choices, run: str) -> _Job:
    chosen = replace(choices, anyway=True)
    recipe = load_recipe(inventory, name, chosen)
    if recipe.nodes == 1:
        raise InputError(
            f"{name} is for one host: nothing travels between hosts",
            place=str(recipe.path),
            remedy="Name a recipe for several hosts: `spark-cluster recipes` lists them.",
        )
    made, _ = deploy(inventory, recipe, chosen, run)
    return _Job(replace(made, secret_values={}), placement_of(inventory, recipe, chosen))


def _last(inventory: Inventory) -> str:
    path = str(inventory.path)
    for past in past_runs():
        if past.verb == "launch" and past.recipe and past.inventory == path:
            return past.recipe
    raise InputError(
        "nothing was launched from here with this inventory, so that no recipe is known",
        remedy="Name one: `spark-cluster verify-rdma --probe --collective RECIPE`.",
    )


def judged(job: _Job, ran: Ran, link: Link | None) -> CollectiveMeasured:
    """What a run came to, from its logs and counters."""
    size = len(job.hosts)
    said = {rank.rank: collective.parse(ran.logs.get(rank.host, ""), size) for rank in job.ranks}
    witnesses = {
        rank.rank: nccl_log.parse(ran.logs[rank.host])
        for rank in job.ranks
        if rank.host in ran.logs
    }
    first = said.get(0, Said())
    found = [
        *collective.unfinished(ran.failures, job.hosts),
        *collective.findings(said, link, job.hosts),
    ]
    return CollectiveMeasured(
        job.deployment.recipe,
        job.deployment.image,
        job.hosts,
        first.torch,
        next((each.version for each in witnesses.values() if each.version), None),
        first.sizes,
        link,
        None if ran.failures else _verdict(job, ran, first, witnesses),
        tuple(found),
    )


def _verdict(job: _Job, ran: Ran, first: Said, witnesses: Mapping[int, NcclWitness]) -> Verdict:
    ranks = [collective.with_need(rank, first, len(job.hosts)) for rank in job.ranks]
    return judge(ranks, ran.before, ran.after, collective.work(first, ran.seconds), witnesses)


def _results(job: _Job, ran: Ran) -> list[Result]:
    return [
        Result(
            host,
            STEP,
            Status.FAILED if host in ran.failures else Status.OK,
            ran.failures.get(host, "came to its end"),
        )
        for host in job.hosts
    ]
