"""The verdict: do the tokens of the running job travel by RDMA, on every rank, both ways?

The rules, in order; the first that holds gives the verdict:

unknown    fewer than two ranks, the generated tokens were not counted, or there were none and the
           host of a rank could not be read
idle       no tokens: there is nothing to prove
unknown    a rail that the recipe names could not be read on some rank, or was reset meanwhile
socket     tokens flowed and no RDMA device of any rank carried them
partial    a rank, a direction or a named rail carried nothing, or another rail carried some
degraded   failing error counters grew, losses were frequent, or the volume is off
rdma       none of these

NCCL's log is a second witness and is never averaged with the counters. It cannot make a verdict
better. It makes one worse in two cases, each with its reason:

- The counters say `rdma` and a rank's log says Socket: `unknown`. `rdma` is a promise; the bytes on
  the rails may belong to another job, and neither witness is above the other.
- The counters say `socket`, a rank's log says IB, and no interface carried the bytes: `unknown`.
  The job then uses a device that was not read. If an interface did carry them, `socket` stands.

In all other cases a contradiction is a reason line.

Where no rail's driver counts its traffic, `rdma` cannot be proved. `socket` can: the interfaces
moved what the tokens need, and either they are mlx5's, which do not count RDMA, or every rank's log
says Socket. All else is `unknown`, with what the interfaces and the logs say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from spark_cluster.core.reason import Reason
from spark_cluster.core.units import count, human_bytes
from spark_cluster.rdma import findings, interfaces
from spark_cluster.rdma.counter_names import Growth
from spark_cluster.rdma.counters import CounterReading
from spark_cluster.rdma.deltas import CounterDelta, delta
from spark_cluster.rdma.evidence import Case, Rail, RailRow, Rank, Seen, Work, row, see
from spark_cluster.rdma.nccl_log import NcclWitness

__all__ = ["Kind", "Rail", "RailRow", "Rank", "Verdict", "Work", "judge"]

Kind = Literal["rdma", "socket", "partial", "degraded", "idle", "unknown"]

#: The diagnosis that explains each verdict (core/diagnoses.yaml).
CODES: dict[Kind, str] = {
    "socket": "RDMA010",
    "partial": "RDMA011",
    "degraded": "RDMA012",
    "idle": "RDMA013",
    "unknown": "RDMA014",
}


#: No tokens although requests run: RDMA013's graver sister.
STUCK = "RDMA015"


@dataclass(frozen=True)
class Verdict:
    """`reasons` are sentences for a person, the gravest first. `code` is the diagnosis that
    `explain` knows; None for `rdma`. `tokens` and `seconds`: the work that was judged. `causes`:
    the codes of what speaks against RDMA on some rank, whatever the verdict."""

    kind: Kind
    reasons: tuple[Reason, ...]
    rows: tuple[RailRow, ...]
    source: str = ""
    code: str | None = None
    tokens: int | None = None
    seconds: float = 0.0
    causes: tuple[str, ...] = ()


def _rdma(case: Case) -> tuple[Kind, list[Reason]]:
    """The last rules: error counters, volume, and the second witness."""
    degraded = (
        findings.error_reasons(case, Growth.FAIL)
        + findings.frequent_losses(case)
        + findings.off_volumes(case)
    )
    warnings = findings.error_reasons(case, Growth.WARN) + findings.full(case)
    warnings += interfaces.elsewhere(case)
    agree, against = findings.witness_lines(case, "IB")
    if degraded:
        return "degraded", [*degraded, *warnings, *against, *agree]
    ways = "both ways" if all(s.must_send and s.must_receive for s in case.seen) else "as they must"
    proof = Reason(
        "proof",
        f"{case.done} in {case.work.seconds:.1f} s travelled by RDMA, {ways}, on all "
        f"{len(case.ranks)} ranks.",
    )
    if any(rank.need is None for rank in case.ranks):
        unknown = "The model's need per token is unknown: the volume was not compared."
        warnings.append(Reason("need-unknown", unknown))
    if any(findings.says_socket(case, rank) for rank in case.ranks):
        apart = Reason("contradiction", "The counters and NCCL's log contradict each other.")
        return "unknown", [apart, *against, proof]
    return "rdma", [proof, *warnings, *against, *agree]


def _uncounted(case: Case) -> tuple[Kind, list[Reason]]:
    """No driver counts: the interfaces' bytes and NCCL's log are all there is."""
    carried, found = interfaces.carried(case)
    agree, against = findings.witness_lines(case, "Socket")
    all_say_socket = all(findings.says_socket(case, rank) for rank in case.ranks)
    if interfaces.sockets_alone(case) or (found and all_say_socket):
        return "socket", [interfaces.claim(case), *carried, *against, *agree]
    agree, against = findings.witness_lines(case, "IB")
    unproved = Reason(
        "uncounted",
        f"{case.done} were {case.work.made}, and no RDMA device of any rank counts its traffic: "
        "RDMA cannot be proved here.",
    )
    return "unknown", [unproved, *carried, *against, *agree]


def _rules(case: Case) -> tuple[Kind, list[Reason]]:
    if findings.uncounted(case):
        return _uncounted(case)
    if unreadable := findings.unreadable(case):
        return "unknown", [*unreadable, *findings.silent_of_read(case), *findings.strays(case)]
    if not any(item.flows for item in case.seen):
        carried, found = interfaces.carried(case)
        reasons = [interfaces.claim(case), *carried]
        agree, against = findings.witness_lines(case, "Socket")
        if not found and any(findings.says_ib(case, rank) for rank in case.ranks):
            return "unknown", [*against, *reasons]
        return "socket", [*reasons, *against, *agree]
    partial = findings.silent(case) + findings.strays(case)
    if partial:
        agree, against = findings.witness_lines(case, "IB")
        told = [*partial, *interfaces.elsewhere(case), *findings.growing_errors(case)]
        return "partial", [*told, *against, *agree]
    return _rdma(case)


def _idle(seen: Sequence[Seen], work: Work) -> tuple[str, Reason]:
    """The diagnosis and its reason. A prompt that is being read moves bytes and gives no token."""
    passed = f"No tokens in {work.seconds:.1f} s"
    if not work.requests_running:
        text = f"{passed}: nothing was generated, so nothing is proved."
        return CODES["idle"], Reason("no-tokens", text)
    verb = "is" if work.requests_running == 1 else "are"
    passed += f" although {count(work.requests_running, 'request')} {verb} running"
    moved = max((item.moved for item in seen), default=0.0)
    if moved:
        text = f"{passed}: RDMA carried {human_bytes(moved)} meanwhile, so a prompt is being read."
        return CODES["idle"], Reason("prompt", text)
    return STUCK, Reason("stuck", f"{passed}, and RDMA carried nothing: generation is stuck.")


def judge(
    ranks: Sequence[Rank],
    before: Mapping[str, CounterReading | None],
    after: Mapping[str, CounterReading | None],
    work: Work,
    witnesses: Mapping[int, NcclWitness] | None = None,
) -> Verdict:
    """The verdict on `ranks` from two readings of each host (by name) and the work between them.

    The readings must hold all RDMA devices of a host, so that a wrong rail shows, and the netdevs
    of the rails and of the management NIC, so that a fallback to sockets can be placed. A host that
    could not be read is missing or None.
    """
    deltas: dict[str, CounterDelta | None] = {}
    for rank in ranks:
        first, second = before.get(rank.host), after.get(rank.host)
        deltas[rank.host] = delta(first, second) if first and second else None
    tokens = work.tokens or 0
    seen = [item for rank in ranks for item in see(rank, deltas[rank.host], tokens)]
    rows = tuple(row(item, tokens) for item in seen)

    def verdict(
        kind: Kind, reasons: Sequence[Reason], code: str | None, source: str = ""
    ) -> Verdict:
        told = tuple(reasons) + ((Reason("source", source),) if source else ())
        return Verdict(kind, told, rows, source, code, work.tokens, work.seconds)

    if len(ranks) < 2:
        reason = Reason("one-rank", "One rank only: no traffic between hosts to prove.")
        return verdict("unknown", [reason], CODES["unknown"])
    if work.tokens is None:
        reason = Reason("tokens-unknown", "The generated tokens could not be counted.")
        return verdict("unknown", [reason], CODES["unknown"])
    case = Case(ranks, deltas, work, tokens, seen, witnesses or {})
    if tokens <= 0:
        code, reason = _idle(seen, work)
        reasons = [reason, *findings.growing_errors(case)]
        if away := findings.away(case):
            return verdict("unknown", [*away, *reasons], CODES["unknown"])
        return verdict("idle", reasons, code)
    kind, reasons = _rules(case)
    return verdict(kind, reasons, CODES.get(kind), findings.source(case))
