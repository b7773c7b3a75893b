"""Counters, tokens of our own, counters: the verdict on what runs."""

from __future__ import annotations

from collections.abc import Sequence

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import activate
from spark_cluster.actions.verify.common import (
    Verified,
    conclude,
    nothing_runs,
    verify_request,
)
from spark_cluster.core.plan import Override
from spark_cluster.core.result import exit_code
from spark_cluster.inventory.models import Inventory
from spark_cluster.steps.rdma_verdict import rdma_verdict, verdict
from spark_cluster.workload.served import to_verify


def verify(
    inventory: Inventory, hosts: Sequence[str], operator: Operator, *, tokens: int | None = None
) -> Verified:
    """Generate `tokens` (the playbook's number if None) between two readings of the counters.

    Raises CheckFailed (RDMA013) if nothing of ours runs, Unreachable if no host answers, InputError
    for what runs on one host.
    """
    settings = [Override(rdma_verdict.name, "tokens", tokens, "--tokens")] if tokens else ()
    request = verify_request(inventory, hosts, settings=settings, needs=(rdma_verdict.name,))
    with activate(request, operator) as active:
        results = active.run.apply(active.run.plan())
        facts = active.session.all_facts()
        found = to_verify(facts)
        if found is None:
            if exit_code(results):
                return Verified(**vars(active.finish(results)))
            raise nothing_runs(active)
        result = verdict(active.run.view(found.host))
        assert result is not None
        return conclude(active, result, facts, results)
