"""Numbers that verbs and the kernel answer with, and their names: Linux's, on whatever machine a
log is read."""

from __future__ import annotations

#: errno of Linux (include/uapi/asm-generic/errno*.h), as far as verbs calls and sockets give them:
#: the name, and glibc's words, by which old releases of NCCL print it.
ERRNO: dict[int, tuple[str, str]] = {
    1: ("EPERM", "Operation not permitted"),
    2: ("ENOENT", "No such file or directory"),
    5: ("EIO", "Input/output error"),
    11: ("EAGAIN", "Resource temporarily unavailable"),
    12: ("ENOMEM", "Cannot allocate memory"),
    13: ("EACCES", "Permission denied"),
    14: ("EFAULT", "Bad address"),
    16: ("EBUSY", "Device or resource busy"),
    19: ("ENODEV", "No such device"),
    22: ("EINVAL", "Invalid argument"),
    24: ("EMFILE", "Too many open files"),
    28: ("ENOSPC", "No space left on device"),
    38: ("ENOSYS", "Function not implemented"),
    95: ("EOPNOTSUPP", "Operation not supported"),
    99: ("EADDRNOTAVAIL", "Cannot assign requested address"),
    100: ("ENETDOWN", "Network is down"),
    101: ("ENETUNREACH", "Network is unreachable"),
    104: ("ECONNRESET", "Connection reset by peer"),
    110: ("ETIMEDOUT", "Connection timed out"),
    111: ("ECONNREFUSED", "Connection refused"),
    113: ("EHOSTUNREACH", "No route to host"),
}

#: enum ibv_wc_status (infiniband/verbs.h): the name without IBV_WC_, and what it means.
COMPLETIONS: dict[int, tuple[str, str]] = {
    1: ("LOC_LEN_ERR", "the message is longer than its buffer"),
    2: ("LOC_QP_OP_ERR", "the queue pair rejected its own request"),
    3: ("LOC_EEC_OP_ERR", "the end-to-end context rejected its own request"),
    4: ("LOC_PROT_ERR", "the local buffer is not registered for it"),
    5: ("WR_FLUSH_ERR", "flushed, since an earlier request had failed"),
    6: ("MW_BIND_ERR", "a memory window could not be bound"),
    7: ("BAD_RESP_ERR", "the peer's answer was not expected"),
    8: ("LOC_ACCESS_ERR", "local access was refused"),
    9: ("REM_INV_REQ_ERR", "the peer found the request invalid"),
    10: ("REM_ACCESS_ERR", "the peer refused access to its memory"),
    11: ("REM_OP_ERR", "the peer could not carry it out"),
    12: ("RETRY_EXC_ERR", "retry exceeded: the peer acknowledged nothing"),
    13: ("RNR_RETRY_EXC_ERR", "retry exceeded: the peer was never ready to receive"),
    14: ("LOC_RDD_VIOL_ERR", "domain violation, local"),
    15: ("REM_INV_RD_REQ_ERR", "domain violation, remote"),
    16: ("REM_ABORT_ERR", "the peer aborted it"),
    17: ("INV_EECN_ERR", "invalid end-to-end context number"),
    18: ("INV_EEC_STATE_ERR", "invalid end-to-end context state"),
    19: ("FATAL_ERR", "the device failed"),
    20: ("RESP_TIMEOUT_ERR", "the peer's answer came too late"),
    21: ("GENERAL_ERR", "an error of the transport"),
}

#: Later requests fail with it when one has failed: it tells of another completion.
FLUSHED = 5

#: What ibv_event_type_str(3) says of events after which a device or a queue is of no use. Until
#: 2.28.3 NCCL prints those and harmless ones in one form, so the words decide.
FATAL_EVENTS = frozenset(
    {
        "CQ error",
        "local work queue catastrophic error",
        "invalid request local work queue error",
        "local access violation work queue error",
        "local catastrophic error",
        "SRQ catastrophic error",
        "WQ fatal error",
    }
)

_BY_WORDS = {words: number for number, (_, words) in ERRNO.items()}


def errno_of(words: str) -> int | None:
    """The number of glibc's words for an error; None for others."""
    return _BY_WORDS.get(words.strip())
