"""What speaks for and against RDMA, each as a sentence with its numbers."""

from __future__ import annotations

from dataclasses import replace

from spark_cluster.core.reason import Reason
from spark_cluster.core.units import human_bytes
from spark_cluster.core.words import sentence
from spark_cluster.rdma.counter_names import ERROR_COUNTERS, Growth, meaning
from spark_cluster.rdma.deltas import Incomparable
from spark_cluster.rdma.evidence import Case, Rank
from spark_cluster.rdma.nccl_log import describe
from spark_cluster.rdma.volume import off_volume

#: Share of all packets that may be lost or sent again before warnings become `degraded`. RoCE is
#: meant to lose none. Soft-RoCE repeats when a CPU is late, and each time what was in flight: up to
#: 0.9 % were seen between virtual machines under load, without a fault.
LOSS_FRACTION = 0.01
RXE_LOSS_FRACTION = 0.02


def away(case: Case) -> list[Reason]:
    """Ranks whose host could not be read twice."""
    return [
        Reason("away", f"{rank.where} could not be read.")
        for rank in case.ranks
        if case.deltas.get(rank.host) is None
    ]


def unreadable(case: Case) -> list[Reason]:
    """Away hosts, and the named rails that could not be read."""
    reasons = away(case)
    for rank in case.ranks:
        if case.deltas.get(rank.host) is None:
            continue
        if not rank.rails:
            reasons.append(Reason("no-rail", f"The recipe names no rail for {rank.where}."))
        for item in case.of(rank, expected=True):
            if item.sent is None:
                problem = item.delta.problem if item.delta else None
                why = problem.text if problem else "was not read"
                reasons.append(Reason("unreadable", sentence(f"{item.where} {why}")))
    return reasons


def silent(case: Case) -> list[Reason]:
    """What is missing on the rails that the recipe names."""
    reasons = []
    for item in case.seen:
        lacks_sent = item.must_send and not item.sends
        lacks_received = item.must_receive and not item.receives
        if not item.expected or not (lacks_sent or lacks_received):
            continue
        if item.delta is not None and item.delta.absent:
            reasons.append(Reason("absent", f"{item.where}: the device is not there."))
        elif not item.flows:
            reasons.append(Reason("silent", f"{item.where}: carried no {case.work.noun}s."))
        else:
            done, missing = ("received", "sent") if lacks_sent else ("sent", "received")
            text = f"{item.where}: one direction only: {done}, not {missing}."
            reasons.append(Reason("one-way", text))
    return reasons


def strays(case: Case) -> list[Reason]:
    """Rails that carry tokens although the recipe does not name them."""
    return [
        Reason(
            "wrong-rail",
            f"{item.where}: wrong rail: it carried traffic and the recipe names "
            f"{', '.join(rail.device for rail in item.rank.rails)}.",
        )
        for item in case.seen
        if not item.expected and item.flows
    ]


def error_reasons(case: Case, severity: Growth) -> list[Reason]:
    reasons = []
    for item in case.seen:
        if item.delta is None or not (item.expected or item.flows):
            continue
        for name, count in sorted(item.delta.errors.items()):
            if ERROR_COUNTERS[name].severity is severity:
                least = "at least " if name in item.delta.at_least else ""
                grew = f"{item.where}: {name} grew by {least}{count}: {meaning(name)}."
                reasons.append(Reason("errors", grew))
    return reasons


def growing_errors(case: Case) -> list[Reason]:
    """All error counters that grew, the failing ones first: what may explain a silence."""
    return error_reasons(case, Growth.FAIL) + error_reasons(case, Growth.WARN)


def full(case: Case) -> list[Reason]:
    """Counters that stood at their highest value already: their silence proves nothing."""
    return [
        Reason(
            "full",
            f"{item.where}: {', '.join(sorted(item.delta.full))} stood at the highest value "
            "before: growth does not show.",
        )
        for item in case.seen
        if item.delta is not None and item.delta.full and (item.expected or item.flows)
    ]


def frequent_losses(case: Case) -> list[Reason]:
    """Warnings about lost or repeated packets that are too many of all."""
    reasons = []
    for item in case.seen:
        if not item.expected or item.delta is None or not item.sent or not item.received:
            continue
        if item.sent.packets is None or item.received.packets is None:
            continue
        packets = item.sent.packets + item.received.packets
        limit = RXE_LOSS_FRACTION if item.delta.driver == "rxe" else LOSS_FRACTION
        for name, count in sorted(item.delta.errors.items()):
            if ERROR_COUNTERS[name].loss and count > limit * packets:
                grew = (
                    f"{item.where}: {name} grew by {count} in {packets} packets, more than "
                    f"{limit:.0%}: {meaning(name)}."
                )
                reasons.append(Reason("losses", grew))
    return reasons


def off_volumes(case: Case) -> list[Reason]:
    """Ranks whose rails together carried far less or far more than the model needs."""
    reasons = []
    for rank in case.ranks:
        rails = case.of(rank, expected=True)
        for word, need, chosen in (
            ("sent", rank.need.sent if rank.need else 0.0, [r.sent for r in rails if r.sent]),
            (
                "received",
                rank.need.received if rank.need else 0.0,
                [r.received for r in rails if r.received],
            ),
        ):
            total = sum(flow.estimate for flow in chosen)
            factor = off_volume(total, case.tokens, case.work.prompt_tokens, need)
            loose = any(not flow.exact and not flow.bounded for flow in chosen)
            if factor is None or (factor > 1 and loose):
                continue  # packets times the largest payload say nothing about "too much"
            each = f"{human_bytes(total / case.tokens)} a {case.work.noun}"
            off = (
                f"{rank.where} {word} {each} over RDMA, "
                f"{factor:.2g} x the {human_bytes(need)} that {case.work.needs}."
            )
            reasons.append(Reason("volume", off))
    return reasons


def witness_lines(case: Case, network: str) -> tuple[list[Reason], list[Reason]]:
    """What the logs say: lines that agree with `network`, and lines that contradict it."""
    agree, against = [], []
    for rank in case.ranks:
        witness = case.witnesses.get(rank.rank)
        if witness is None:
            continue
        line = f"NCCL's log of {rank.where}: {describe(witness)}"
        if witness.failed:
            yet = f"{line}; yet {case.work.noun}s were {case.work.made}."
            against.append(Reason("log-against", yet))
        elif witness.mixed or witness.network not in (network, None):
            against.append(Reason("log-against", f"{line}; the counters say otherwise."))
        else:
            agree.append(Reason("log-agrees", sentence(line)))
    return agree, against


def uncounted(case: Case) -> bool:
    """Whether every rail that the recipe names has a driver without traffic counters."""
    problems = [item.delta.problem if item.delta else None for item in case.seen if item.expected]
    return set(problems) == {Incomparable.NO_COUNTERS}


def source(case: Case) -> str:
    """Which counters the verdict rests on, and how precise they are."""
    if uncounted(case):
        return "Not counted by any RDMA device: judged by the interfaces' bytes and NCCL's log."
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


def silent_of_read(case: Case) -> list[Reason]:
    """What is missing on the rails that could be read, told beside those that could not."""
    return silent(replace(case, seen=[item for item in case.seen if item.sent is not None]))
