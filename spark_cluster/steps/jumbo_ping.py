"""A frame of the full MTU reaches every peer on every rail. Each host asks: both directions."""

from __future__ import annotations

from spark_cluster.core.step import Assessment, skip
from spark_cluster.facts.links import PING, PING_OVERHEAD
from spark_cluster.steps.base import NoParams, patient, problem, step
from spark_cluster.steps.view import View


@step(
    "jumbo-ping",
    "Check that jumbo frames reach the peers on every rail",
    NoParams,
    reads=(PING,),
    wait=lambda _: 20.0,
)
def jumbo_ping(view: View, _: NoParams) -> Assessment:
    if not view.host.rails:
        return skip("the inventory gives it no rails")
    pings = {(ping.interface, ping.peer): ping for ping in view.facts[PING].pings}
    wanted = [
        (rail.interface, peer.ip, rail.mtu - PING_OVERHEAD)
        for rail in view.host.rails
        for _, peer in view.inventory.peers(view.name, rail)
    ]
    silent = [
        (interface, peer, size)
        for interface, peer, size in wanted
        if (interface, peer) not in pings or not pings[interface, peer].answered
    ]
    problems = [
        problem("NET004", f"{peer} does not answer a {size} byte ping from {interface}")
        for interface, peer, size in silent
    ]
    answered = f"{len(wanted) - len(silent)} of {len(wanted)} peers answered at full size"
    # The first frames after a change may be lost while neighbours are found.
    return patient(*problems, notes=(answered,))
