"""What the ways to verify share: the run's request, and how a verdict ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spark_cluster.actions.events import Judged
from spark_cluster.actions.run import Active, Outcome
from spark_cluster.actions.verdict import about, judged_event
from spark_cluster.core.error import CheckFailed, InputError, SparkError, Unreachable
from spark_cluster.core.result import Result
from spark_cluster.inventory.models import Inventory
from spark_cluster.playbook.loader import Setting
from spark_cluster.rdma.verdict import Verdict
from spark_cluster.runner.request import RunRequest
from spark_cluster.workload.served import HostFacts, beside, to_verify


@dataclass(frozen=True)
class Verified(Outcome):
    """`judged` is None where a run ended before its verdict. Exit code 0 for `rdma`, 3 if a host
    of the group is away, else 4."""

    judged: Judged | None = None


def verify_request(
    inventory: Inventory,
    hosts: Sequence[str],
    *,
    settings: Sequence[Setting] = (),
    needs: tuple[str, ...] = (),
) -> RunRequest:
    """A run that goes on without the hosts that are away."""
    return RunRequest(
        verb="verify-rdma",
        playbook="verify-rdma",
        hosts=hosts,
        inventory=inventory,
        settings=settings,
        all_hosts_needed=False,
        needs=needs,
    )


def conclude(
    active: Active,
    result: Verdict,
    facts: HostFacts,
    results: Sequence[Result] = (),
    *,
    told: bool = True,
) -> Verified:
    """Write the verdict down with what was judged and what else runs; `told`: and tell it.

    Raises InputError for an engine on one host: it has no traffic to prove.
    """
    found = to_verify(facts)
    if found is not None and not found.spans:
        others = "".join(
            f", {each.recipe} on one host ({each.host})" for each in beside(found, facts)
        )
        raise InputError(
            f"{found.recipe} runs on one host ({found.host}){others}: nothing travels between "
            "hosts, so there is nothing to verify",
            remedy="`spark-cluster verify-rdma --probe` measures the links without a model.",
        )
    away = set(found.hosts if found else ()) & set(active.session.lost)
    code = 0 if result.kind == "rdma" else 3 if away else 4
    judged = judged_event(active, result, facts)
    if told:
        active.listener(judged)
    ended = active.finish(results, data=about(judged), code=code)
    return Verified(**vars(ended), judged=judged)


def nothing_runs(active: Active) -> SparkError:
    """The error for hosts on which no head of ours runs, or of which none answers any more."""
    lost = active.session.lost
    if not active.session.alive:
        remedies = dict.fromkeys(error.remedy for error in lost.values())
        return Unreachable(f"no host answers: {', '.join(lost)}", remedy="; ".join(remedies))
    return CheckFailed(
        f"no running head container of ours on {', '.join(active.session.alive)}",
        code="RDMA013",
        remedy="Start one with `spark-cluster launch RECIPE`; "
        "`spark-cluster status` shows what runs.",
    )
