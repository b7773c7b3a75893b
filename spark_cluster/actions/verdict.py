"""What a verdict that a run came to is about, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spark_cluster.actions.events import Judged
from spark_cluster.actions.run import Active
from spark_cluster.core.event import as_json
from spark_cluster.core.result import Result, Status
from spark_cluster.rdma.verdict import Verdict
from spark_cluster.steps.rdma_verdict import rdma_verdict, verdict
from spark_cluster.workload.served import HostFacts, beside, to_verify


def about(event: Judged) -> dict[str, Any]:
    """A verdict as the journal and `--json` keep it: with what was judged, and what else runs."""
    return {
        "verdict": as_json(event.verdict),
        "served": event.served,
        "not_judged": list(event.not_judged),
    }


def judged_event(active: Active, result: Verdict, facts: HostFacts) -> Judged:
    """The verdict with what it is about, read from the containers' labels."""
    found = to_verify(facts)
    served = {
        "inventory": str(active.request.inventory.path),
        **(found.as_dict() if found else {}),
    }
    others = tuple(other.as_dict() for other in beside(found, facts)) if found else ()
    return Judged(result, served, others)


def verdict_of(active: Active, results: Sequence[Result]) -> Judged | None:
    """The verdict that a run ended with; None if it did not come to one."""
    ended = (Status.OK, Status.FAILED)
    head = next(
        (r.host for r in results if r.step == rdma_verdict.name and r.status in ended), None
    )
    result = verdict(active.run.view(head)) if head in active.session.alive and head else None
    if result is None:
        return None
    return judged_event(active, result, active.session.all_facts())
