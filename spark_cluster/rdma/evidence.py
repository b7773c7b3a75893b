"""What the verdict looks at: the ranks, their rails, and what each carried between two readings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from spark_cluster.core.units import human_bytes
from spark_cluster.rdma.deltas import CounterDelta, RdmaDelta
from spark_cluster.rdma.nccl_log import NcclWitness
from spark_cluster.rdma.volume import Flow, Need, carries, flows


@dataclass(frozen=True)
class Rail:
    """A rail as the recipe's choice names it: the RDMA device and its netdev."""

    device: str
    netdev: str


@dataclass(frozen=True)
class Rank:
    """A rank, its host, the rails that it is meant to use, and what a token makes it exchange
    (None if unknown)."""

    host: str
    rank: int
    rails: tuple[Rail, ...]
    need: Need | None = None

    @property
    def where(self) -> str:
        return f"{self.host} (rank {self.rank})"


@dataclass(frozen=True)
class Work:
    """What the job did between the readings.

    tokens             generated tokens; None if they could not be counted
    seconds            between the readings
    prompt_tokens      tokens of the prompts
    requests_running   requests in the engine at the second reading; None if unknown
    noun, made, needs  what is counted, if not tokens that were generated, as the model needs
    """

    tokens: int | None
    seconds: float
    prompt_tokens: int = 0
    requests_running: int | None = None
    noun: str = "token"
    made: str = "generated"
    needs: str = "the model needs"


@dataclass(frozen=True)
class RailRow:
    """One rail of one rank between the readings.

    `unit` is `B` or `packets`; tx and rx are None where the rail could not be read. `errors`: every
    error counter that grew, by how much. `is_expected`: the recipe names this rail.
    """

    host: str
    rank: int
    rail: str
    netdev: str | None
    tx: int | None
    rx: int | None
    unit: Literal["B", "packets"]
    tx_per_token: float | None
    rx_per_token: float | None
    errors: dict[str, int]
    is_expected: bool
    note: str = ""


@dataclass(frozen=True)
class Seen:
    """One device of one rank, understood.

    `sent` and `received` are None if it was not readable; `share` is its part of what the rank
    needs, None if unknown; `sends` and `receives`: tokens went that way.
    """

    rank: Rank
    device: str
    netdev: str | None
    expected: bool
    delta: RdmaDelta | None
    sent: Flow | None
    received: Flow | None
    share: Need | None
    sends: bool = False
    receives: bool = False

    @property
    def where(self) -> str:
        return f"{self.rank.where}, {self.device}"

    @property
    def flows(self) -> bool:
        """Whether tokens went by it, any way."""
        return self.sends or self.receives

    @property
    def must_send(self) -> bool:
        return self.share is None or self.share.sent > 0

    @property
    def must_receive(self) -> bool:
        return self.share is None or self.share.received > 0

    @property
    def moved(self) -> float:
        """Bytes at most, the busier way, if that is as much as one token moves; else 0."""
        ways = (
            (self.sent, self.share.sent if self.share else None),
            (self.received, self.share.received if self.share else None),
        )
        busy = [flow.estimate for flow, need in ways if flow and carries(flow, 1, need)]
        return max(busy, default=0.0)


@dataclass(frozen=True)
class Case:
    """Everything that the rules look at."""

    ranks: Sequence[Rank]
    deltas: Mapping[str, CounterDelta | None]
    work: Work
    tokens: int
    seen: list[Seen]
    witnesses: Mapping[int, NcclWitness] = field(default_factory=dict)

    @property
    def done(self) -> str:
        """`32 tokens`."""
        return f"{self.tokens} {self.work.noun}s"

    def of(self, rank: Rank, *, expected: bool) -> list[Seen]:
        return [item for item in self.seen if item.rank == rank and item.expected == expected]


def see(rank: Rank, host: CounterDelta | None, tokens: int) -> Iterator[Seen]:
    """The rank's devices: first those that the recipe names, then the others that were read."""
    named = {rail.device: rail.netdev for rail in rank.rails}
    others = [name for name in (host.devices if host else {}) if name not in named]
    share = rank.need.divided(max(1, len(named))) if rank.need else None
    for name in [*named, *others]:
        found = host.devices.get(name) if host else None
        netdev = named.get(name) or (found.netdev if found else None)
        statistics = host.netdevs.get(netdev) if host and netdev else None
        pair = flows(found, statistics) if found else None
        sent, received = pair or (None, None)
        yield Seen(
            rank=rank,
            device=name,
            netdev=netdev,
            expected=name in named,
            delta=found,
            sent=sent,
            received=received,
            share=share,
            sends=sent is not None and carries(sent, tokens, share.sent if share else None),
            receives=received is not None
            and carries(received, tokens, share.received if share else None),
        )


def _row_note(item: Seen) -> str:
    if item.delta is None:
        return "not read"
    if item.delta.problem:
        return item.delta.problem.text
    if item.delta.absent:
        return "the device is not there"
    notes = []
    if item.delta.state and item.delta.state != "ACTIVE":
        notes.append(f"port {item.delta.state}")
    if item.sent and item.received and not item.sent.exact:
        bounds = [human_bytes(flow.estimate) for flow in (item.sent, item.received)]
        notes.append(f"at most {bounds[0]} out, {bounds[1]} in")
    if not item.expected and item.flows:
        notes.append("carries traffic and is not named by the recipe")
    return "; ".join(notes)


def row(item: Seen, tokens: int) -> RailRow:
    sent, received = item.sent, item.received
    per_token = [flow.count / tokens if flow and tokens > 0 else None for flow in (sent, received)]
    packets = sent is not None and sent.unit == "packets"
    return RailRow(
        host=item.rank.host,
        rank=item.rank.rank,
        rail=item.device,
        netdev=item.netdev,
        tx=sent.count if sent else None,
        rx=received.count if received else None,
        unit="packets" if packets else "B",
        tx_per_token=per_token[0],
        rx_per_token=per_token[1],
        errors=dict(item.delta.errors) if item.delta else {},
        is_expected=item.expected,
        note=_row_note(item),
    )
