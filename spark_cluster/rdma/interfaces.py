"""What the ordinary interfaces carried: where the tokens of a job without RDMA go.

An mlx5 interface does not count RDMA; one below soft-RoCE does.
"""

from __future__ import annotations

from spark_cluster.core.reason import Reason
from spark_cluster.core.units import human_bytes
from spark_cluster.rdma.deltas import NetdevDelta
from spark_cluster.rdma.evidence import Case, Rank
from spark_cluster.rdma.volume import LOW_FACTOR, MIN_BYTES_PER_TOKEN, PROOF_FRACTION


def carriers(case: Case, rank: Rank, share: float = PROOF_FRACTION) -> list[NetdevDelta]:
    """The rank's interfaces that moved at least `share` of what the tokens need, each way that
    tokens go; the busiest first.

    Loopback is left out: what it carries does not reach another host.
    """
    host = case.deltas.get(rank.host)
    if host is None:
        return []
    sent = received = MIN_BYTES_PER_TOKEN * case.tokens
    if rank.need:
        sent = rank.need.sent * share * case.tokens
        received = rank.need.received * share * case.tokens
    found = [
        netdev
        for netdev in host.netdevs.values()
        if netdev.netdev != "lo"
        and netdev.tx_bytes
        and netdev.rx_bytes
        and netdev.tx_bytes >= sent
        and netdev.rx_bytes >= received
    ]
    return sorted(found, key=lambda netdev: -_volume(netdev))


def _volume(netdev: NetdevDelta) -> int:
    """The busier way; TCP's acknowledgements make the other."""
    return max(netdev.tx_bytes or 0, netdev.rx_bytes or 0)


def claim(case: Case) -> Reason:
    """That the tokens went by sockets."""
    return Reason(
        "sockets",
        f"{case.done} were {case.work.made} and no RDMA device of any rank carried them: the job "
        "uses TCP sockets.",
    )


def carried(case: Case) -> tuple[list[Reason], bool]:
    """Where the bytes went, and whether any interface showed them."""
    reasons = []
    found = False
    for rank in case.ranks:
        busy = carriers(case, rank)
        if not busy:
            nobody = f"{rank.where}: no interface that was read moved them."
            reasons.append(Reason("nowhere", nobody))
            continue
        found = True
        netdev = busy[0]
        sent, received = netdev.tx_bytes or 0, netdev.rx_bytes or 0
        is_rail = netdev.netdev in {rail.netdev for rail in rank.rails}
        moved = (
            f"{rank.where}: {netdev.netdev}"
            f"{'' if is_rail else ', which is no rail of the recipe,'} carried "
            f"{human_bytes(sent)} out and {human_bytes(received)} in, "
            f"{human_bytes(max(sent, received) / case.tokens)} a {case.work.noun}."
        )
        reasons.append(Reason("interface", moved))
    return reasons, found


def sockets_alone(case: Case) -> bool:
    """Whether the interfaces of every rank moved the tokens and cannot have moved RDMA's: they
    are mlx5's, which do not count it."""
    drivers = {item.delta.driver for item in case.seen if item.expected and item.delta}
    return drivers == {"mlx5"} and all(carriers(case, rank, LOW_FACTOR) for rank in case.ranks)


def elsewhere(case: Case) -> list[Reason]:
    """Interfaces that are no rail and moved half of what the model needs, or more.

    With RDMA they should carry the control connections only: kilobytes.
    """
    reasons = []
    for rank in case.ranks:
        rails = {item.netdev for item in case.seen if item.rank == rank}
        for netdev in carriers(case, rank, LOW_FACTOR) if rank.need else ():
            if netdev.netdev not in rails:
                beside = (
                    f"{rank.where}: {netdev.netdev}, which is no rail of the recipe, carried "
                    f"{human_bytes(_volume(netdev))} meanwhile."
                )
                reasons.append(Reason("elsewhere", beside))
    return reasons
