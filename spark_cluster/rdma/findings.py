"""What speaks for and against RDMA, each as a sentence with its numbers."""

from __future__ import annotations

from dataclasses import replace

from spark_cluster.core.units import human_bytes
from spark_cluster.rdma.counter_names import ERROR_COUNTERS, Severity, meaning
from spark_cluster.rdma.deltas import NetdevDelta
from spark_cluster.rdma.evidence import Case, Rank
from spark_cluster.rdma.nccl_log import describe
from spark_cluster.rdma.volume import LOW_FACTOR, MIN_BYTES_PER_TOKEN, PROOF_FRACTION, off_volume

#: Share of all packets that may be lost or sent again before warnings become `degraded`. RoCE is
#: meant to lose none; a late CPU makes soft-RoCE repeat a few.
LOSS_FRACTION = 0.01


def unreadable(case: Case) -> list[str]:
    reasons = []
    for rank in case.ranks:
        host = case.deltas.get(rank.host)
        if host is None:
            reasons.append(f"{rank.host} (rank {rank.rank}) could not be read.")
            continue
        if not rank.rails:
            reasons.append(f"The recipe names no rail for {rank.host} (rank {rank.rank}).")
        for item in case.of(rank, expected=True):
            if item.sent is None:
                why = item.delta.problem if item.delta and item.delta.problem else "was not read"
                reasons.append(f"{item.where} {why}.")
    return reasons


def silent(case: Case) -> list[str]:
    """What is missing on the rails that the recipe names."""
    reasons = []
    for item in case.seen:
        if not item.expected or (item.sends and item.receives):
            continue
        if item.delta is not None and item.delta.absent:
            reasons.append(f"{item.where}: the device is not there.")
        elif item.sends or item.receives:
            done, missing = ("sent", "received") if item.sends else ("received", "sent")
            reasons.append(f"{item.where}: one direction only: {done}, not {missing}.")
        else:
            reasons.append(f"{item.where}: carried no tokens.")
    return reasons


def strays(case: Case) -> list[str]:
    """Rails that carry tokens although the recipe does not name them."""
    return [
        f"{item.where}: wrong rail: it carried traffic and the recipe names "
        f"{', '.join(rail.device for rail in item.rank.rails)}."
        for item in case.seen
        if not item.expected and (item.sends or item.receives)
    ]


def error_reasons(case: Case, severity: Severity) -> list[str]:
    reasons = []
    for item in case.seen:
        if item.delta is None or not (item.expected or item.sends or item.receives):
            continue
        for name, count in sorted(item.delta.errors.items()):
            if ERROR_COUNTERS[name].severity is severity:
                least = "at least " if name in item.delta.at_least else ""
                reasons.append(f"{item.where}: {name} grew by {least}{count}: {meaning(name)}.")
    return reasons


def frequent_losses(case: Case) -> list[str]:
    """Warnings about lost or repeated packets that add up to more than LOSS_FRACTION."""
    reasons = []
    for item in case.seen:
        if not item.expected or item.delta is None or not item.sent or not item.received:
            continue
        if item.sent.packets is None or item.received.packets is None:
            continue
        packets = item.sent.packets + item.received.packets
        for name, count in sorted(item.delta.errors.items()):
            if ERROR_COUNTERS[name].loss and count > LOSS_FRACTION * packets:
                reasons.append(
                    f"{item.where}: {name} grew by {count} in {packets} packets, more than "
                    f"{LOSS_FRACTION:.0%}: {meaning(name)}."
                )
    return reasons


def off_volumes(case: Case) -> list[str]:
    """Ranks whose rails together carried far less or far more than the model needs."""
    need = case.work.bytes_per_token
    if not need:
        return []
    reasons = []
    for rank in case.ranks:
        rails = case.of(rank, expected=True)
        for word, chosen in (
            ("sent", [item.sent for item in rails if item.sent]),
            ("received", [item.received for item in rails if item.received]),
        ):
            total = sum(flow.estimate for flow in chosen)
            factor = off_volume(total, case.tokens, case.work.prompt_tokens, need)
            loose = any(not flow.exact and not flow.bounded for flow in chosen)
            if factor is None or (factor > 1 and loose):
                continue  # packets times the largest payload say nothing about "too much"
            reasons.append(
                f"{rank.host} (rank {rank.rank}) {word} {human_bytes(total / case.tokens)} a token "
                f"over RDMA, {factor:.2g} x the {human_bytes(need)} that the model needs."
            )
    return reasons


def carriers(case: Case, rank: Rank) -> list[NetdevDelta]:
    """The rank's interfaces that moved token-sized volumes both ways, the busiest first.

    Loopback is left out: what it carries does not reach another host.
    """
    host = case.deltas.get(rank.host)
    if host is None:
        return []
    need = case.work.bytes_per_token
    floor = (need * PROOF_FRACTION if need else MIN_BYTES_PER_TOKEN) * case.tokens
    found = [
        netdev
        for netdev in host.netdevs.values()
        if netdev.netdev != "lo"
        and netdev.tx_bytes
        and netdev.rx_bytes
        and min(netdev.tx_bytes, netdev.rx_bytes) >= floor
    ]
    return sorted(found, key=lambda netdev: -min(netdev.tx_bytes or 0, netdev.rx_bytes or 0))


def socket_reasons(case: Case) -> tuple[list[str], bool]:
    """Where the bytes went, and whether any interface showed them."""
    reasons = [
        f"{case.tokens} tokens were generated and no RDMA device of any rank carried them: the job "
        "uses TCP sockets."
    ]
    found = False
    for rank in case.ranks:
        busy = carriers(case, rank)
        if not busy:
            reasons.append(
                f"{rank.host} (rank {rank.rank}): no interface that was read moved them."
            )
            continue
        found = True
        netdev = busy[0]
        sent, received = netdev.tx_bytes or 0, netdev.rx_bytes or 0
        is_rail = netdev.netdev in {rail.netdev for rail in rank.rails}
        reasons.append(
            f"{rank.host} (rank {rank.rank}): {netdev.netdev}"
            f"{'' if is_rail else ', which is no rail of the recipe,'} carried "
            f"{human_bytes(sent)} out and {human_bytes(received)} in, "
            f"{human_bytes(max(sent, received) / case.tokens)} a token."
        )
    return reasons, found


def elsewhere(case: Case) -> list[str]:
    """Interfaces that are no rail and moved half of what the model needs, or more.

    With RDMA they should carry the control connections only: kilobytes.
    """
    need = case.work.bytes_per_token
    if not need:
        return []
    floor = LOW_FACTOR * need * case.tokens
    reasons = []
    for rank in case.ranks:
        rails = {item.netdev for item in case.seen if item.rank == rank}
        for netdev in carriers(case, rank):
            low = min(netdev.tx_bytes or 0, netdev.rx_bytes or 0)
            if netdev.netdev not in rails and low >= floor:
                reasons.append(
                    f"{rank.host} (rank {rank.rank}): {netdev.netdev}, which is no rail of the "
                    f"recipe, carried {human_bytes(low)} or more each way meanwhile."
                )
    return reasons


def witness_lines(case: Case, network: str) -> tuple[list[str], list[str]]:
    """What the logs say: lines that agree with `network`, and lines that contradict it."""
    agree, against = [], []
    for rank in case.ranks:
        witness = case.witnesses.get(rank.rank)
        if witness is None:
            continue
        line = f"NCCL's log of {rank.host} (rank {rank.rank}): {describe(witness)}"
        if witness.failed:
            against.append(f"{line}; yet tokens were generated.")
        elif witness.mixed or witness.network not in (network, None):
            against.append(f"{line}; the counters say otherwise.")
        else:
            agree.append(f"{line}.")
    return agree, against


def source(case: Case) -> str:
    """Which counters the verdict rests on, and how precise they are."""
    sources = {item.delta.source for item in case.seen if item.expected and item.delta}
    lines = []
    if "octets" in sources:
        lines.append(
            "Counted in bytes by the RDMA port (port_xmit_data, port_rcv_data; steps of 4)."
        )
    if "packets" in sources:
        lines.append(
            "Counted in packets by the RDMA driver (sent_pkts, rcvd_pkts): acknowledgements and "
            "repeats count too, and bytes are known only as an upper bound."
        )
    return " ".join(lines)


def says_socket(case: Case, rank: Rank) -> bool:
    witness = case.witnesses.get(rank.rank)
    return witness is not None and witness.network == "Socket"


def says_ib(case: Case, rank: Rank) -> bool:
    witness = case.witnesses.get(rank.rank)
    return witness is not None and witness.network == "IB"


def silent_of_read(case: Case) -> list[str]:
    """What is missing on the rails that could be read, told beside those that could not."""
    return silent(replace(case, seen=[item for item in case.seen if item.sent is not None]))
