"""How much traffic tokens need, and how much a rail really carried."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.rdma.deltas import NetdevDelta, RdmaDelta

#: Below this share of what the model needs a direction counts as silent: acknowledgements,
#: keepalives and retransmissions of a connection that carries no tokens stay far under it (an
#: acknowledgement is 62 bytes for a message of kilobytes).
PROOF_FRACTION = 0.05

#: Where the model's need is unknown: the least that a token can move. The smallest hidden state in
#: use is 1024 elements of one byte; a layer sends it twice.
MIN_BYTES_PER_TOKEN = 1024.0

#: The same where only packets are counted: one packet per all-reduce of a one-layer model.
MIN_PACKETS_PER_TOKEN = 2.0

#: Volume per token relative to the need, outside of which the verdict is `degraded`. Below half:
#: the rest went another way. Above: NCCL's LL protocol sends a flag with each word (x 2), the
#: gathering of the logits adds about a tenth, prompts and padded batches the rest; beyond four
#: times something else uses the rail.
LOW_FACTOR = 0.5
HIGH_FACTOR = 4.0

#: What a RoCE v2 packet adds to its payload on an Ethernet interface: Ethernet 14, IPv4 20, UDP 8,
#: BTH 12, ICRC 4 bytes. An extended header (4 to 16 bytes) is left out: under 0.5 % at 4096 bytes.
ROCE_OVERHEAD = 58

#: The payload sizes that RDMA knows (enum ib_mtu), and the room for headers that the kernel leaves
#: when it derives them from the interface's MTU (iboe_get_mtu: GRH 40, UDP 8, BTH 12, XRC 4,
#: atomic 28, ICRC 4 bytes). 1500 gives 1024; 4192 and more give 4096.
_ROCE_MTUS = (4096, 2048, 1024, 512, 256)
_MTU_HEADROOM = 96


def expected_bytes_per_token(
    layers: int, hidden_size: int, bytes_per_element: float = 2, tensor_parallel: int = 2
) -> float:
    """Bytes that one generated token makes each rank send, and receive, with tensor parallelism.

    Each layer does two all-reduces (after attention and after the MLP or the experts) of one hidden
    state: `hidden_size * bytes_per_element` bytes. A ring all-reduce over N ranks makes each rank
    send 2 (N - 1) / N times that size, and receive as much: 1 x for two ranks. Left out: the
    embedding's all-reduce (half a layer) and the gathering of the logits (about a tenth).

    >>> expected_bytes_per_token(94, 4096)  # Qwen3-VL-235B, two Sparks: 1.5 MB
    1540096.0
    """
    if tensor_parallel < 2:
        return 0.0
    ring = 2 * (tensor_parallel - 1) / tensor_parallel
    return float(layers * 2 * hidden_size * bytes_per_element * ring)


@dataclass(frozen=True)
class Need:
    """Bytes that one generated token makes a rank send, and receive.

    0: no token goes that way, as at the ends of a pipeline; such a direction proves nothing.
    """

    sent: float
    received: float

    def divided(self, rails: int) -> Need:
        """One rail's part: NCCL spreads its channels evenly."""
        return Need(self.sent / rails, self.received / rails)

    @property
    def label(self) -> str:
        """As a container's label holds it: `1540096`, or `16384,0` where the ways differ."""
        if self.sent == self.received:
            return f"{self.sent:.0f}"
        return f"{self.sent:.0f},{self.received:.0f}"


_LABEL = re.compile(r"([0-9]{1,15})(?:,([0-9]{1,15}))?", re.ASCII)


def parse_need(label: str) -> Need | None:
    """What `Need.label` wrote; None for an empty or foreign text, or for two zeros."""
    found = _LABEL.fullmatch(label.strip())
    if not found:
        return None
    sent = float(found[1])
    need = Need(sent, float(found[2]) if found[2] else sent)
    return need if need.sent or need.received else None


def need_per_token(
    layers: int,
    hidden_size: int,
    bytes_per_element: float = 2,
    *,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    rank: int = 0,
) -> Need:
    """What a token makes `rank` exchange with other hosts, one GPU a host.

    Ranks count tensor-parallel first, as vLLM's do: with tp=2 and pp=2 ranks 0 and 1 are the first
    stage. Each stage has its share of the layers' all-reduces (`expected_bytes_per_token`). Between
    two stages go the hidden state and the residual (vLLM's IntermediateTensors), to the next stage
    only: the first receives nothing, the last sends nothing.

    >>> need_per_token(94, 4096, pipeline_parallel=2, rank=0)
    Need(sent=16384.0, received=0.0)
    """
    stage = rank // tensor_parallel
    both = expected_bytes_per_token(layers, hidden_size, bytes_per_element, tensor_parallel)
    both /= pipeline_parallel
    handed_on = 2 * hidden_size * bytes_per_element
    return Need(
        sent=both + (handed_on if stage < pipeline_parallel - 1 else 0.0),
        received=both + (handed_on if stage > 0 else 0.0),
    )


def roce_mtu(netdev_mtu: int | None) -> int:
    """Largest RoCE payload in bytes on an interface of this MTU; 4096, the largest, if unknown."""
    if netdev_mtu is None:
        return _ROCE_MTUS[0]
    fitting = (size for size in _ROCE_MTUS if size + _MTU_HEADROOM <= netdev_mtu)
    return next(fitting, _ROCE_MTUS[-1])


@dataclass(frozen=True)
class Flow:
    """One direction of one rail.

    `count` in the row's unit. `estimate` is bytes: exact for octet counters. From packets it is an
    upper bound: packets x the largest payload, and no more than the interface itself carried where
    its statistics see RoCE (`bounded`).
    """

    count: int
    unit: str
    packets: int | None
    estimate: float
    exact: bool
    bounded: bool = False


def _wire_bytes(netdev_bytes: int | None, packets: int) -> float | None:
    """Payload that an interface carried, its headers taken off; None if unknown."""
    if netdev_bytes is None:
        return None
    return max(0.0, float(netdev_bytes - packets * ROCE_OVERHEAD))


def _packet_flow(packets: int, netdev_bytes: int | None, mtu: int | None) -> Flow:
    estimate = float(packets * roce_mtu(mtu))
    wire = _wire_bytes(netdev_bytes, packets)
    if wire is None:
        return Flow(packets, "packets", packets, estimate, exact=False)
    return Flow(packets, "packets", packets, min(estimate, wire), exact=False, bounded=True)


def flows(device: RdmaDelta, netdev: NetdevDelta | None) -> tuple[Flow, Flow] | None:
    """The device's two directions, sent and received; None if they are not known.

    The netdev's bytes bound the estimate on rxe only: there its statistics see RoCE, on mlx5 they
    do not.
    """
    if device.absent:
        nothing = Flow(0, "B", 0, 0.0, exact=True)
        return nothing, nothing
    if device.problem:
        return None
    if device.xmit_bytes is not None and device.rcv_bytes is not None:
        return (
            Flow(device.xmit_bytes, "B", device.xmit_packets, float(device.xmit_bytes), exact=True),
            Flow(device.rcv_bytes, "B", device.rcv_packets, float(device.rcv_bytes), exact=True),
        )
    if device.xmit_packets is None or device.rcv_packets is None:
        return None
    sees = netdev if netdev and device.driver == "rxe" else None
    mtu = netdev.mtu if netdev else None
    return (
        _packet_flow(device.xmit_packets, sees.tx_bytes if sees else None, mtu),
        _packet_flow(device.rcv_packets, sees.rx_bytes if sees else None, mtu),
    )


def carries(flow: Flow, tokens: int, needed_per_token: float | None) -> bool:
    """Whether a direction carried more than what a connection without tokens makes.

    `needed_per_token` is this rail's share of the model's need in bytes, None if unknown.
    """
    if tokens <= 0:
        return False
    if needed_per_token:
        return flow.estimate >= PROOF_FRACTION * needed_per_token * tokens
    enough = flow.packets is None or flow.exact or flow.packets >= MIN_PACKETS_PER_TOKEN * tokens
    if flow.exact or flow.bounded:
        return enough and flow.estimate >= MIN_BYTES_PER_TOKEN * tokens
    return enough


def off_volume(flow_sum: float, tokens: int, prompt_tokens: int, need: float) -> float | None:
    """The factor by which a volume misses the model's need; None if it is within bounds.

    Prompt tokens move as much as generated ones unless the prefix cache has them: so they raise
    the upper bound and not the lower one.
    """
    if tokens <= 0 or need <= 0:
        return None
    if flow_sum < LOW_FACTOR * need * tokens:
        return flow_sum / (need * tokens)
    if flow_sum > HIGH_FACTOR * need * (tokens + prompt_tokens):
        return flow_sum / (need * (tokens + prompt_tokens))
    return None
