"""The verdict: do the tokens of the running job travel by RDMA, on every rank, both ways?

The rules, in order; the first that holds gives the verdict:

unknown    fewer than two ranks, or the generated tokens were not counted
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
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from spark_cluster.rdma import findings
from spark_cluster.rdma.counter_names import Severity
from spark_cluster.rdma.counters import CounterReading
from spark_cluster.rdma.deltas import CounterDelta, delta
from spark_cluster.rdma.evidence import Case, Rail, RailRow, Rank, Work, row, see
from spark_cluster.rdma.nccl_log import NcclWitness

__all__ = ["Kind", "Rail", "RailRow", "Rank", "Verdict", "Work", "judge"]

Kind = Literal["rdma", "socket", "partial", "degraded", "idle", "unknown"]

#: The diagnosis that explains each verdict (core/diagnosis.py).
CODES: dict[Kind, str] = {
    "socket": "RDMA010",
    "partial": "RDMA011",
    "degraded": "RDMA012",
    "idle": "RDMA013",
    "unknown": "RDMA014",
}


@dataclass(frozen=True)
class Verdict:
    """`reasons` are sentences for a person, the gravest first."""

    kind: Kind
    reasons: tuple[str, ...]
    rows: tuple[RailRow, ...]
    source: str = ""

    @property
    def code(self) -> str | None:
        """The code that `explain` knows; None for `rdma`."""
        return CODES.get(self.kind)


def _rdma(case: Case) -> tuple[Kind, list[str]]:
    """The last rules: error counters, volume, and the second witness."""
    degraded = (
        findings.error_reasons(case, Severity.FAIL)
        + findings.frequent_losses(case)
        + findings.off_volumes(case)
    )
    warnings = findings.error_reasons(case, Severity.WARN) + findings.elsewhere(case)
    agree, against = findings.witness_lines(case, "IB")
    if degraded:
        return "degraded", [*degraded, *warnings, *against, *agree]
    proof = (
        f"{case.tokens} tokens in {case.work.seconds:.1f} s travelled by RDMA, both ways, on all "
        f"{len(case.ranks)} ranks."
    )
    if case.work.bytes_per_token is None:
        warnings.append("The model's need per token is unknown: the volume was not compared.")
    if any(findings.says_socket(case, rank) for rank in case.ranks):
        return "unknown", ["The counters and NCCL's log contradict each other.", *against, proof]
    return "rdma", [proof, *warnings, *against, *agree]


def _rules(case: Case) -> tuple[Kind, list[str]]:
    if unreadable := findings.unreadable(case):
        return "unknown", [*unreadable, *findings.silent_of_read(case), *findings.strays(case)]
    if not any(item.sends or item.receives for item in case.seen):
        reasons, found = findings.socket_reasons(case)
        agree, against = findings.witness_lines(case, "Socket")
        if not found and any(findings.says_ib(case, rank) for rank in case.ranks):
            return "unknown", [*against, *reasons]
        return "socket", [*reasons, *against, *agree]
    partial = findings.silent(case) + findings.strays(case)
    if partial:
        agree, against = findings.witness_lines(case, "IB")
        errors = findings.error_reasons(case, Severity.FAIL)
        errors += findings.error_reasons(case, Severity.WARN)
        return "partial", [*partial, *findings.elsewhere(case), *errors, *against, *agree]
    return _rdma(case)


def _idle_reason(work: Work) -> str:
    if work.requests_running:
        return (
            f"No tokens in {work.seconds:.1f} s although {work.requests_running} requests are "
            "running: generation is stuck."
        )
    return f"No tokens in {work.seconds:.1f} s: nothing was generated, so nothing is proved."


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
    seen = [item for rank in ranks for item in see(rank, deltas[rank.host], work)]
    rows = tuple(row(item, work.tokens or 0) for item in seen)
    if len(ranks) < 2:
        reason = "One rank only: no traffic between hosts to prove."
        return Verdict("unknown", (reason,), rows)
    if work.tokens is None:
        return Verdict("unknown", ("The generated tokens could not be counted.",), rows)
    if work.tokens <= 0:
        return Verdict("idle", (_idle_reason(work),), rows)
    case = Case(ranks, deltas, work, work.tokens, seen, witnesses or {})
    kind, reasons = _rules(case)
    source = findings.source(case)
    return Verdict(kind, (*reasons, source) if source else tuple(reasons), rows, source)
