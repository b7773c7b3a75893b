"""A frame of the full MTU reaches every peer on every rail. Each host asks: both directions."""

from __future__ import annotations

from spark_cluster.core.step import Assessment, Step, skip
from spark_cluster.facts.links import PING
from spark_cluster.steps.base import NoParams, problem
from spark_cluster.steps.view import View


def assess(view: View, _: NoParams) -> Assessment:
    if not view.host.rails:
        return skip("the inventory gives it no rails")
    pings = view.facts[PING].pings
    silent = [ping for ping in pings if not ping.answered]
    problems = tuple(
        problem(
            "NET004",
            f"{ping.peer} does not answer a {ping.size} byte ping from {ping.interface}",
        )
        for ping in silent
    )
    answered = f"{len(pings) - len(silent)} of {len(pings)} peers answered at full size"
    # The first frames after a change may be lost while neighbours are found.
    waiting = tuple(fault.what for fault in problems)
    return Assessment(problems=problems, waiting=waiting, notes=(answered,))


STEP = Step(
    name="jumbo-ping",
    title="Jumbo frames reach the peers on every rail",
    params=NoParams,
    reads=(PING.name,),
    assess=assess,
    wait=lambda _: 20.0,
)
