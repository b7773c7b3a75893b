"""NCCL's lines by release, as its sources print them, and a log of a job of two around them.

Apart from the reader's own table, so that a test of one by the other can fail.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Tags of NCCL whose sources were read; of 2.31 the strings of its library. 2.32 is as reported.
RELEASES = (
    "2.19.4", "2.20.5", "2.21.5", "2.22.3", "2.23.4", "2.24.3", "2.25.1", "2.26.2", "2.27.3",
    "2.28.3", "2.28.7", "2.28.9", "2.29.2", "2.29.3", "2.29.7", "2.30.3", "2.30.4", "2.30.7",
    "2.31.2", "2.32.3",
)  # fmt: skip

Release = tuple[int, ...]


def number(release: str) -> Release:
    return tuple(int(part) for part in release.split("."))


@dataclass(frozen=True)
class Format:
    """One wording of an event, from one release to another (both included).

    `text` has {local}, {remote}, {peer} and {device}. `kind` and `says` are the expected reading,
    `job` the verdict on a job of which one rank says so. `before`: it stands before the rings are
    connected.
    """

    event: str
    level: str
    text: str
    kind: str
    job: str
    since: str = RELEASES[0]
    until: str = RELEASES[-1]
    says: tuple[str, ...] = ()
    before: bool = False

    def holds(self, release: str) -> bool:
        return number(self.since) <= number(release) <= number(self.until)


def _qp(error: int, words: str, more: str = "") -> str:
    return (
        f"Call to ibv_modify_qp failed with {error} {words}, on dev {{device}}:1, curr state INIT, "
        "next state RTR, local GID index 3, local GID ::ffff:{local}, remote GID ::ffff:{remote}"
        f"{more}"
    )


_RETRY = ", retrying 3/35 after 300 msec of sleep"
_ENDS = ("{device}", "{local}", "{remote}")
_GIDS = " localGid ::ffff:{local} remoteGids::ffff:{remote}"

FORMATS = (
    # misc/ibvwrap.cc
    Format("modify_qp", "WARN", "Call to ibv_modify_qp failed with error Connection timed out "
           "errno 110", "modify-qp", "failed", until="2.23.4", says=("110", "ETIMEDOUT")),
    Format("modify_qp", "WARN", _qp(110, "Connection timed out"), "modify-qp", "failed",
           since="2.24.3", says=("110", "ETIMEDOUT", *_ENDS)),
    Format("modify_qp", "WARN", _qp(22, "Invalid argument"), "modify-qp", "failed",
           since="2.24.3", says=("22", "EINVAL", *_ENDS)),
    Format("modify_qp", "WARN", _qp(19, "No such device"), "modify-qp", "failed",
           since="2.24.3", says=("19", "ENODEV", *_ENDS)),
    Format("modify_qp retried", "INFO", _qp(110, "Connection timed out", _RETRY), "retry", "rdma",
           since="2.24.3", says=("110", "ETIMEDOUT", *_ENDS), before=True),
    Format("modify_qp retried last", "INFO", _qp(110, "Connection timed out", _RETRY), "retry",
           "unknown", since="2.24.3", says=("110", *_ENDS)),
    Format("hint", "INFO", "HINT: In many cases this error occurs when NICs are not cross-rail "
           "connected.", "", "rdma", since="2.30.7"),
    Format("reg_mr", "WARN", "Call to ibv_reg_mr_iova2 failed with error Cannot allocate memory",
           "reg-mr", "failed", says=("ibv_reg_mr_iova2", "12", "ENOMEM")),
    Format("reg_mr", "WARN", "Call to ibv_reg_mr failed with error Bad address", "reg-mr",
           "failed", says=("14", "EFAULT")),
    Format("verbs", "WARN", "Call to ibv_create_qp failed with error Cannot allocate memory",
           "verbs", "failed", says=("ibv_create_qp", "ENOMEM")),
    Format("unsupported", "INFO", "Call to ibv_query_ece failed with error Operation not "
           "supported errno 95", "", "rdma", until="2.23.4"),
    # transport/net_ib.cc, net_ib/p2p.cc: a failed completion
    Format("completion", "WARN", "NET/IB : Got completion from peer {peer}<48120> with error 12, "
           "opcode 0, len 0, vendor err 129 (Send)" + _GIDS, "completion", "failed",
           until="2.19.4", says=("12", "RETRY_EXC", "{local}", "{remote}")),
    Format("completion", "WARN", "NET/IB : Got completion from peer {peer}<48120> with status=12 "
           "opcode=0 len=0 vendor err 129 (Send)" + _GIDS, "completion", "failed",
           since="2.20.5", until="2.21.5", says=("12", "RETRY_EXC", "{local}", "{remote}")),
    Format("completion", "WARN", "NET/IB: Got completion from peer {peer}<48120> with status=12 "
           "opcode=0 len=0 vendor err 129 (Send)" + _GIDS + " hca {device}", "completion",
           "failed", since="2.22.3", until="2.28.3", says=("12", "RETRY_EXC", *_ENDS)),
    Format("completion", "WARN", "NET/IB: Got completion from peer {peer}<48120> with "
           "status=IBV_WC_RETRY_EXC_ERR(12) opcode=IBV_WC_SEND(0) reqSize=8 vendor_err=129 "
           "req_type=Send" + _GIDS + " hca {device}", "completion", "failed",
           since="2.28.7", until="2.28.9", says=("12", "RETRY_EXC", *_ENDS)),
    Format("completion", "WARN", "NET/IB: Got completion from peer {peer}<48120> with "
           "status=IBV_WC_RNR_RETRY_EXC_ERR(13) opcode=IBV_WC_RDMA_WRITE(1) vendor_err=0 " + _GIDS
           + " hca {device}", "completion", "failed", since="2.29.2", until="2.31.2",
           says=("13", "RNR_RETRY_EXC", *_ENDS)),
    Format("completion", "WARN", "NET/IB: Got completion from peer {peer}<48120> with "
           "status=IBV_WC_RETRY_EXC_ERR(12) opcode=IBV_WC_RDMA_WRITE(1) qp_num=576 vendor_err=129 "
           + _GIDS + " hca {device}", "completion", "failed", since="2.32.3",
           says=("12", "RETRY_EXC", *_ENDS)),
    Format("completion of GIN", "WARN", "NET/IB/GIN: Got completion from peer {peer}<48120> with "
           "status=12 opcode=0 len=0 vendor err 129 (Send)" + _GIDS + " hca {device}",
           "completion", "failed", since="2.28.9", says=("12", *_ENDS)),
    Format("flushed", "WARN", "NET/IB: Got completion from peer {peer}<48120> with "
           "status=IBV_WC_WR_FLUSH_ERR(5) opcode=IBV_WC_SEND(0) vendor_err=249 " + _GIDS
           + " hca {device}", "flushed", "failed", since="2.28.7", says=("5", "FLUSH")),
    # The thread of asynchronous events
    Format("device fatal", "WARN", "NET/IB : Got async event : local catastrophic error",
           "device-fatal", "failed", until="2.19.4", says=("local catastrophic error",)),
    Format("device fatal", "WARN", "NET/IB : {device}:1 Got async event : local catastrophic error",
           "device-fatal", "failed", since="2.20.5", until="2.22.3", says=("{device}",)),
    Format("device fatal", "WARN", "NET/IB : {device}:1 async fatal event: local catastrophic "
           "error", "device-fatal", "failed", since="2.23.4", says=("{device}", "catastrophic")),
    Format("queue fatal", "WARN", "NET/IB : {device}:1 async fatal event on QP (0x7f00): local "
           "work queue catastrophic error", "device-fatal", "failed",
           since="2.23.4", until="2.30.4", says=("{device}", "local work queue catastrophic")),
    Format("queue fatal", "WARN", "NET/IB : {device}:1 async fatal event on QP (0x7f00) qpn=576 "
           "handle=1 send_cq=1 recv_cq=1 state=3 sq_psn=1 rq_psn=1: local work queue catastrophic "
           "error", "device-fatal", "failed", since="2.30.7",
           says=("{device}", "local work queue catastrophic error")),
    Format("queue fatal", "WARN", "NET/IB : {device}:1 async fatal event on CQ (0x7f00): CQ error",
           "device-fatal", "failed", since="2.23.4", until="2.30.4", says=("CQ error",)),
    Format("shared queue", "WARN", "NET/IB : {device}:1 async fatal event on SRQ, unused for now "
           "(0x7f00): SRQ catastrophic error", "async", "rdma", since="2.23.4"),
    Format("port error", "WARN", "NET/IB : Got async event : port error", "port-error", "rdma",
           until="2.19.4"),
    Format("port error", "WARN", "NET/IB : {device}:1 Got async event : port error", "port-error",
           "rdma", since="2.20.5", until="2.22.3", says=("{device}",)),
    Format("port error", "WARN", "NET/IB : {device}:1 Got async error event: port error",
           "port-error", "rdma", since="2.23.4", until="2.28.3", says=("{device}",)),
    Format("port error", "WARN", "NET/IB : {device}:1 Got non-fatal async event: port error(10)",
           "port-error", "rdma", since="2.28.7", says=("{device}",)),
    Format("port active", "WARN", "NET/IB : {device}:1 Got non-fatal async event: port active(9)",
           "port-active", "rdma", since="2.28.7", says=("{device}",)),
    Format("other event", "WARN", "NET/IB : {device}:1 Got non-fatal async event: client "
           "reregistration(17)", "async", "rdma", since="2.28.7", says=("client reregistration",)),
    Format("GID change", "WARN", "NET/IB : Got async event : GID table change", "gid-changed",
           "rdma", until="2.19.4"),
    Format("GID change", "WARN", "NET/IB : {device}:1 Got async error event: GID table change",
           "gid-changed", "rdma", since="2.23.4", until="2.27.3"),
    Format("GID change", "WARN", "NET/IB : {device}:1 GID table changed", "gid-changed", "rdma",
           since="2.28.3", until="2.30.7"),
    Format("GID change", "WARN", "NET/IB: ncclIbAsyncThreadMain: GID table changed on {device}:1",
           "gid-changed", "rdma", since="2.31.2", says=("{device}",)),
    # misc/socket.cc, bootstrap.cc, plugin/net.cc, init.cc
    Format("lost peer", "WARN", "socketProgress: Connection closed by remote peer {peer}<48120>",
           "lost-peer", "failed", says=("{peer}",)),
    Format("connect", "WARN", "socketPollConnect: Connect to {peer}<48120> returned 113(No route "
           "to host) errno 115(Operation now in progress)", "connect", "failed", since="2.23.4",
           until="2.24.3", says=("{peer}", "No route to host")),
    Format("connect", "WARN", "socketStartConnect: Connect to {peer}<48120> failed : No route to "
           "host", "connect", "failed", says=("{peer}", "No route to host")),
    Format("connect retried", "INFO", "socketPollConnect: connect to {peer}<48120> returned "
           "Connection refused, retrying (1/34) after sleep for 100 msec", "", "rdma",
           since="2.25.1"),
    Format("proxy", "WARN", "[Service thread] Error encountered progressing operation=Connect, "
           "res=3, closing connection", "error", "failed", says=("operation=Connect, res=3",)),
    Format("fatal communicator", "WARN", "communicator encountered a fatal error (detected in "
           "ncclAllReduce)", "error", "failed", since="2.23.4", says=("a fatal error",)),
    Format("no interface", "WARN", "Bootstrap : no socket interface found", "no-interface",
           "failed"),
    Format("no network", "WARN", "Failed to initialize any NET plugin", "no-network", "failed",
           since="2.27.3"),
    Format("no network", "WARN", "Error: network IB not found.", "no-network", "failed",
           until="2.26.2"),
    Format("mismatch", "WARN", "Mismatched NCCL version detected : rank 0 version 22809 rank 1 "
           "version 23007", "release-mismatch", "failed", since="2.21.5", says=("22809", "23007")),
    Format("CUDA", "WARN", "Cuda failure 'out of memory'", "cuda", "failed", until="2.26.2",
           says=("out of memory",)),
    Format("CUDA", "WARN", "Cuda failure 2 'out of memory'", "cuda", "failed", since="2.27.3",
           says=("out of memory",)),
    Format("unused request", "INFO", "NET/IB: ncclIbTest: Receiver got a completion for a CTS but "
           "retrieved an 'unused' request (req=0x1, comm=0x2)", "unused", "rdma", since="2.29.2"),
    Format("error by name", "", "ncclSystemError: System call (e.g. socket, malloc) or external "
           "library call failed", "error", "failed", says=("ncclSystemError",)),
    Format("error by name", "", "ncclRemoteError: A call failed possibly due to a network error",
           "remote", "failed"),
    Format("error in words", "", "RuntimeError: NCCL error: unhandled system error (run with "
           "NCCL_DEBUG=INFO for details)", "error", "failed", says=("unhandled system error",)),
    Format("error in words", "", "RuntimeError: NCCL error: remote process exited or there was a "
           "network error", "remote", "failed"),
    Format("error in words", "", "RuntimeError: NCCL error: invalid usage (run with "
           "NCCL_DEBUG=WARN for details)", "usage", "failed"),
    Format("error in words", "", "RuntimeError: NCCL error: timeout", "error", "failed",
           since="2.30.3", says=("timeout",)),
    Format("return codes", "INFO", "transport/net.cc:1298 -> 6", "", "rdma"),
    Format("plugin loaded", "INFO", "NET/Plugin: Loaded net plugin NCCL RDMA Plugin v10 (v10)",
           "plugin", "rdma", since="2.26.2"),
    Format("no plugin", "INFO", "NET/Plugin : dlerror=libnccl-net.so: cannot open shared object "
           "file: No such file or directory No plugin found (libnccl-net.so), using internal "
           "implementation", "no-plugin", "rdma", until="2.20.5"),
    Format("no plugin", "INFO", "NET/Plugin: No plugin found (libnccl-net.so)", "no-plugin",
           "rdma", since="2.21.5", until="2.22.3"),
    Format("no plugin", "INFO", "NET/Plugin: Could not find: libnccl-net.so. Using internal "
           "network plugin.", "no-plugin", "rdma", since="2.23.4"),
)  # fmt: skip


@dataclass(frozen=True)
class Rank:
    """One of a job of two; what its lines have in them."""

    rank: int
    host: str = ""
    pid: int = 4711
    network: str = "IB"
    values: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        own, other = f"10.77.1.{self.rank + 1}", f"10.77.1.{2 - self.rank}"
        device = "rocep1s0f1"
        return {"local": own, "remote": other, "peer": other, "device": device, **self.values}

    def line(self, release: str, level: str, text: str) -> str:
        """The line with the prefix of the release; of no level it is an exception's."""
        filled = text.format(**self.names)
        at = f"{self.host or f'gx-{self.rank}'}:{self.pid}:{self.pid} [0]"
        if level == "INFO":
            return f"{at} NCCL INFO {filled}\n"
        if not level:
            return f"[rank{self.rank}]: {filled}\n"
        stamp = "[2026-09-14 10:12:44] " if number(release) >= (2, 26) else ""
        function = " (ncclFunction)" if number(release) >= (2, 30, 7) else ""
        return f"\n{stamp}{at} transport/net_ib.cc:688{function} NCCL WARN {filled}\n"


def log(release: str, rank: Rank, before: str = "", after: str = "") -> str:
    """A rank's whole log of a clean start over `rank.network`; `before` the rings are connected and
    `after` all of it stand more lines."""
    me, peer = rank.rank, 1 - rank.rank
    who = {True: "", False: "ncclCommInitRankConfig "}[number(release) < (2, 20)]
    start = "[Rank {0}] " if number(release) >= (2, 29) else ""
    comm = f"{who}comm 0xc0ffe{me} rank {me} nranks 2 cudaDev 0 nvmlDev 0 busId f01000 commId 0x51a"
    ring = ", use ring PXN 0 GDR 0" if number(release) >= (2, 26) else ""
    first = [
        "cudaDriverVersion 13000",
        f"Bootstrap : Using enp1s0f1np1:10.77.1.{me + 1}<0>",
        f"NCCL version {release}+cuda13.0",
        f"NET/IB : Using [0]rocep1s0f1:1/RoCE [RO]; OOB enp1s0f1np1:10.77.1.{me + 1}<0>",
        f"Using network {rank.network}",
        f"{start.format(me)}{comm} - Init START",
        f"Channel 00/0 : {peer}[0] -> {me}[0] [receive] via NET/{rank.network}/0",
        f"Channel 00/0 : {me}[0] -> {peer}[0] [send] via NET/{rank.network}/0",
    ]
    last = [f"Connected all rings{ring}", "Connected all trees", f"{comm} - Init COMPLETE"]
    parts = [rank.line(release, "INFO", text) for text in first]
    parts += [before, *(rank.line(release, "INFO", text) for text in last), after]
    return "".join(parts)
