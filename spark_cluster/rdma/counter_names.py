"""The counters that RDMA drivers keep: what each means, how wide it is, and what its growth says.

Sources: the IBTA PortCounters and PortCountersExtended attributes for `counters/`; the kernel's
drivers/infiniband/hw/mlx5/counters.c and drivers/infiniband/sw/rxe/rxe_hw_counters.c for
`hw_counters/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Growth(StrEnum):
    """What growth during a run means.

    fail    packets were lost or a connection broke: the verdict is `degraded`
    warn    told; `degraded` only when it is frequent (see `Counter.loss`)
    benign  normal, above all while a job ends
    """

    FAIL = "fail"
    WARN = "warn"
    BENIGN = "benign"


@dataclass(frozen=True)
class Counter:
    """A counter that is no traffic. `loss`: it grows once per lost or repeated packet."""

    name: str
    severity: Growth
    meaning: str
    loss: bool = False


def _table(
    severity: Growth, meanings: dict[str, str], *, loss: frozenset[str] = frozenset()
) -> dict[str, Counter]:
    return {
        name: Counter(name, severity, meaning, loss=name in loss)
        for name, meaning in meanings.items()
    }


#: mlx5 q-counters (hw_counters/). Growth of these means lost packets or broken connections.
_MLX5_FAIL = {
    "packet_seq_err": "the peer reported a gap in the packets that this host sent",
    "local_ack_timeout_err": "no acknowledgement within the timeout",
    "rx_icrc_encapsulated": "RoCE packets arrived with a wrong checksum",
    "req_transport_retries_exceeded": "a connection was given up after all retries",
    "req_rnr_retries_exceeded": "a connection was given up: the peer was never ready",
}

_MLX5_WARN = {
    "out_of_sequence": "packets arrived out of order",
    "out_of_buffer": "packets arrived and no receive buffer was posted",
    "implied_nak_seq_err": "a read response was missing and inferred from a later one",
    "duplicate_request": "a request arrived twice",
    "rnr_nak_retry_err": "the peer was not ready to receive and asked for a repeat",
    "roce_adp_retrans": "adaptive retransmissions",
    "roce_adp_retrans_to": "adaptive retransmissions after a timeout",
    "roce_slow_restart": "slow restarts after loss",
    "roce_slow_restart_cnps": "congestion notifications sent by slow restart",
    "roce_slow_restart_trans": "transitions into slow restart",
    "rp_cnp_handled": "congestion notifications that throttled this sender",
    "rp_cnp_ignored": "congestion notifications that were ignored",
    "np_ecn_marked_roce_packets": "packets that the network marked as congested",
    "np_cnp_sent": "congestion notifications that this receiver sent",
    "resp_local_length_error": "a request was longer than its buffer",
    "resp_cqe_error": "responder completions with an error",
    "req_cqe_error": "requester completions with an error",
    "req_remote_invalid_request": "the peer refused a request as invalid",
    "req_remote_access_errors": "the peer refused access to its memory",
    "resp_remote_access_errors": "a request for memory that was not offered",
}

#: Flushed completions: every queue pair that is torn down makes some.
_MLX5_BENIGN = {
    "resp_cqe_flush_error": "responder completions flushed as a connection ended",
    "req_cqe_flush_error": "requester completions flushed as a connection ended",
}

#: rxe (soft-RoCE). Its retransmission timers also fire when the CPU is late, so single
#: retransmissions only warn; connections given up fail.
_RXE_FAIL = {
    "retry_exceeded_err": "a connection was given up after all retries",
    "retry_rnr_exceeded_err": "a connection was given up: the peer was never ready",
}

_RXE_WARN = {
    "out_of_seq_request": "packets arrived out of order",
    "rcvd_seq_err": "the peer reported a gap in the packets that this host sent",
    "completer_retry_err": "requests were sent again",
    "send_err": "packets could not be handed to the interface",
    "rcvd_rnr_err": "the peer was not ready to receive and asked for a repeat",
    "send_rnr_err": "this host was not ready to receive and asked for a repeat",
}

_RXE_BENIGN = {
    "ack_deferred": "acknowledgements handled later by a work queue",
}

#: IBTA PortCounters (counters/).
_PORT_FAIL = {
    "symbol_error": "bits were received wrong on the wire",
    "port_rcv_errors": "packets were received with errors",
    "port_xmit_discards": "packets were discarded before they were sent",
    "link_downed": "the link went down",
    "link_error_recovery": "the link recovered from errors",
    "local_link_integrity_errors": "too many errors on the link",
    "port_rcv_remote_physical_errors": "packets were marked bad by the other end",
    "excessive_buffer_overrun_errors": "receive buffers overran",
}

_PORT_WARN = {
    "port_xmit_wait": "ticks during which data waited for credits",
    "port_xmit_constraint_errors": "packets not sent because of partition or size rules",
    "port_rcv_constraint_errors": "packets not accepted because of partition or size rules",
    "port_rcv_switch_relay_errors": "packets that could not be forwarded",
    "VL15_dropped": "management packets were dropped",
}

_LOSS = frozenset(
    {
        "out_of_sequence",
        "implied_nak_seq_err",
        "duplicate_request",
        "roce_adp_retrans",
        "roce_adp_retrans_to",
        "out_of_seq_request",
        "rcvd_seq_err",
        "completer_retry_err",
    }
)

#: Every counter that is not traffic, by name. A name that is missing here is kept in `raw` only.
ERROR_COUNTERS: dict[str, Counter] = {
    **_table(Growth.FAIL, _MLX5_FAIL),
    **_table(Growth.WARN, _MLX5_WARN, loss=_LOSS),
    **_table(Growth.BENIGN, _MLX5_BENIGN),
    **_table(Growth.FAIL, _RXE_FAIL),
    **_table(Growth.WARN, _RXE_WARN, loss=_LOSS),
    **_table(Growth.BENIGN, _RXE_BENIGN),
    **_table(Growth.FAIL, _PORT_FAIL),
    **_table(Growth.WARN, _PORT_WARN),
}

#: Bits of the counters in `counters/` that stop at their highest value instead of wrapping
#: (IBTA PortCounters). Traffic there is 64 bits wide (PortCountersExtended) and wraps.
SATURATING_BITS: dict[str, int] = {
    "symbol_error": 16,
    "port_rcv_errors": 16,
    "port_rcv_remote_physical_errors": 16,
    "port_rcv_switch_relay_errors": 16,
    "port_xmit_discards": 16,
    "VL15_dropped": 16,
    "port_xmit_constraint_errors": 8,
    "port_rcv_constraint_errors": 8,
    "link_error_recovery": 8,
    "link_downed": 8,
    "local_link_integrity_errors": 4,
    "excessive_buffer_overrun_errors": 4,
    "port_xmit_wait": 32,
}

#: mlx5's hw_counters are 32-bit q-counters; rxe's are 64-bit (atomic64_t).
MLX5_HW_BITS = 32
WIDE_BITS = 64

#: `port_xmit_data` and `port_rcv_data` count units of four octets (IBTA PortCounters).
OCTETS_PER_UNIT = 4


def severity(name: str) -> Growth:
    """What growth of `name` means; an unknown counter is benign, since it may count anything."""
    counter = ERROR_COUNTERS.get(name)
    return counter.severity if counter else Growth.BENIGN


def meaning(name: str) -> str:
    """What `name` counts, in a few words; empty if it is not in the tables."""
    counter = ERROR_COUNTERS.get(name)
    return counter.meaning if counter else ""
