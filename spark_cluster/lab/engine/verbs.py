"""Move a step's bytes between neighbouring ranks by RDMA WRITE (reliable connections).

One rail is one RDMA port. Each rail has a sending queue pair towards the next rank and a
receiving one from the previous, as NCCL's NET/IB has. The last write of a step carries
immediate data: its arrival tells the receiver that all writes before it are in memory.
Constants are those of <infiniband/verbs.h>; pyverbs moved its own between releases.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from .nccl import Env, Port, param
from .tcp import TransferError
from .wire import Json, Wire

ACCESS = 1 | 2  # IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE
QPT_RC = 2
WR_RDMA_WRITE = 0
WR_RDMA_WRITE_WITH_IMM = 1
SEND_SIGNALED = 2
WC_SUCCESS = 0

# What NCCL pins: NCCL_BUFFSIZE (4 MiB) for 2 channels, to send and to receive. It must be
# more than the usual RLIMIT_MEMLOCK of 8 MiB, so that a forgotten `--ulimit memlock` shows.
BUFFER = 8 << 20
CHUNK = 1 << 20
WINDOW = 32
RECVS = 16
STAMP = struct.Struct("<QQ")

# NCCL's patience with a connection that runs into a time-out (misc/ibvwrap.cc, 2.28).
ATTEMPTS = 35
PAUSE = 100  # milliseconds, and that much more each time

Say = Callable[[str], None]


class VerbsError(Exception):
    """A verbs call failed; the text is what NCCL would print."""


def _reason(error: Exception) -> str:
    text = str(error)
    for mark in ("Errno:", "errno:"):
        if mark in text:
            return text.split(mark, 1)[1].strip().split(",", 1)[-1].strip() or text
    return text


def _number(error: Exception) -> int:
    """The errno of what verbs refused; 0 if it tells none."""
    return int(getattr(error, "error_code", 0) or 0)


def _address(gid: str) -> str:
    """As NCCL prints a GID: `::ffff:192.168.100.10`."""
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, gid))


def chunks(nbytes: int) -> list[tuple[int, int, bool]]:
    """The writes of `nbytes`: offset in the buffer, length, and whether it is the last."""
    starts = range(0, nbytes, CHUNK)
    return [(at % BUFFER, min(CHUNK, nbytes - at), at + CHUNK >= nbytes) for at in starts]


class Rail:
    """One RDMA port: memory, completion queue, and the queue pairs to both neighbours."""

    def __init__(self, port: Port, gid_index: int, env: Env) -> None:
        self.port = port
        self.gid_index = gid_index
        self._env = env
        try:
            from pyverbs.cq import CQ
            from pyverbs.device import Context
            from pyverbs.mr import MR
            from pyverbs.pd import PD
        except ImportError as error:
            raise VerbsError(f"Failed to open libibverbs.so[.1]: {error}") from error
        try:
            self.context: Any = Context(name=port.device)
        except Exception as error:
            raise VerbsError(f"NET/IB : Unable to open device {port.device}") from error
        self.mtu = int(self.context.query_port(port.port).active_mtu)
        self._pd: Any = PD(self.context)
        try:
            self._out: Any = MR(self._pd, BUFFER, ACCESS)
            self._in: Any = MR(self._pd, BUFFER, ACCESS)
        except Exception as error:
            raise VerbsError(
                "Call to ibv_reg_mr failed with error Cannot allocate memory "
                f"({BUFFER} bytes on {port.device}: {_reason(error)})"
            ) from error
        self._cq: Any = CQ(self.context, 2 * (WINDOW + RECVS))
        self._send_qp = self._new_qp()
        self._recv_qp = self._new_qp()
        self._remote: Json = {}
        self._todo: list[tuple[int, int, bool]] = []
        self._step = 0
        self._expect = 0
        self._in_flight = 0
        self._arrived = 0

    def _new_qp(self) -> Any:
        from pyverbs.qp import QP, QPCap, QPInitAttr

        cap = QPCap(max_send_wr=WINDOW + 2, max_recv_wr=RECVS + 2, max_send_sge=1, max_recv_sge=1)
        init = QPInitAttr(qp_type=QPT_RC, scq=self._cq, rcq=self._cq, cap=cap, sq_sig_all=0)
        try:
            return QP(self._pd, init)
        except Exception as error:
            raise VerbsError(f"Call to ibv_create_qp failed with error {_reason(error)}") from error

    @property
    def gid(self) -> str:
        """Ours, as sysfs shows it."""
        found = next((g.gid for g in self.port.gids if g.slot == self.gid_index), "")
        return found or str(self.context.query_gid(self.port.port, self.gid_index))

    def describe(self, sending: bool) -> Json:
        """What the neighbour must know of one of the queue pairs."""
        qp = self._send_qp if sending else self._recv_qp
        return {
            "qpn": int(qp.qp_num),
            "gid": self.gid,
            "mtu": self.mtu,
            "addr": int(self._in.buf),
            "rkey": int(self._in.rkey),
            "hca": self.port.device,
        }

    def connect(self, to_next: Json, from_prev: Json, say: Say) -> None:
        """Bring both queue pairs to RTS and post the first receives."""
        self._remote = to_next
        self._to_rts(self._send_qp, to_next, say)
        self._to_rts(self._recv_qp, from_prev, say)
        for _ in range(RECVS):
            self._post_recv()

    def _to_rts(self, qp: Any, remote: Json, say: Say) -> None:
        """What runs into a time-out is tried again, as NCCL does; `say` is told of each time."""
        attempts = int(self._env.get("SPARK_LAB_QP_ATTEMPTS") or ATTEMPTS)
        for attempt in range(1, attempts + 1):
            try:
                self._try_rts(qp, remote)
                return
            except Exception as error:
                text = (
                    f"Call to ibv_modify_qp failed with {_number(error)} {_reason(error)}, on dev "
                    f"{self.port.device}:{self.port.port}, curr state INIT, next state RTR, "
                    f"local GID index {self.gid_index}, local GID {_address(self.gid)}, "
                    f"remote GID {_address(str(remote['gid']))}"
                )
                if _number(error) != errno.ETIMEDOUT or attempt == attempts:
                    raise VerbsError(text) from error
                pause = PAUSE * attempt
                say(f"{text}, retrying {attempt}/{attempts} after {pause} msec of sleep")
                time.sleep(pause / 1000)

    def _try_rts(self, qp: Any, remote: Json) -> None:
        from pyverbs.addr import GID, AHAttr, GlobalRoute
        from pyverbs.qp import QPAttr

        attr = QPAttr(port_num=self.port.port)
        attr.qp_access_flags = ACCESS
        attr.dest_qp_num = remote["qpn"]
        attr.path_mtu = min(self.mtu, int(remote["mtu"]))
        attr.max_rd_atomic = attr.max_dest_rd_atomic = 1
        attr.min_rnr_timer = 12
        attr.rq_psn = attr.sq_psn = 0
        attr.timeout = param(self._env, "NCCL_IB_TIMEOUT", 20)
        attr.retry_cnt = param(self._env, "NCCL_IB_RETRY_CNT", 7)
        attr.rnr_retry = 7
        route = GlobalRoute(dgid=GID(str(remote["gid"])), sgid_index=self.gid_index)
        route.hop_limit = 255
        attr.ah_attr = AHAttr(dlid=0, port_num=self.port.port, is_global=1, gr=route)
        qp.to_rts(attr)

    def _post_recv(self) -> None:
        from pyverbs.wr import SGE, RecvWR

        sge = SGE(int(self._in.buf), 0, int(self._in.lkey))
        self._recv_qp.post_recv(RecvWR(wr_id=1, num_sge=1, sg=[sge]))

    def start(self, step: int, send: int, receive: int) -> None:
        """Queue the writes of one step; `advance` posts and completes them."""
        send, receive = (max(way, STAMP.size) if way else 0 for way in (send, receive))
        self._step, self._expect = step, receive
        self._todo = chunks(send)
        if self._todo:
            self._out.write(STAMP.pack(step, send), STAMP.size, self._todo[-1][0])
        self._in_flight = 0

    def _post(self) -> None:
        from pyverbs.wr import SGE, SendWR

        batch, self._todo = self._todo[:WINDOW], self._todo[WINDOW:]
        for number, (offset, length, last) in enumerate(batch):
            sge = SGE(int(self._out.buf) + offset, length, int(self._out.lkey))
            signaled = number == len(batch) - 1
            request = SendWR(
                wr_id=2,
                num_sge=1,
                sg=[sge],
                opcode=WR_RDMA_WRITE_WITH_IMM if last else WR_RDMA_WRITE,
                send_flags=SEND_SIGNALED if signaled else 0,
                imm_data=self._step & 0xFFFFFFFF if last else 0,
            )
            request.set_wr_rdma(int(self._remote["rkey"]), int(self._remote["addr"]) + offset)
            self._send_qp.post_send(request)
        self._in_flight = 1

    def advance(self) -> bool:
        """Post what fits, take completions; True when this rail has finished the step."""
        if not self._in_flight and self._todo:
            self._post()
        number, completions = self._cq.poll(WINDOW)
        for completion in completions[:number]:
            self._complete(completion)
        if self._in_flight or self._todo:
            return False
        if self._expect:
            if not self._arrived:
                return False
            self._arrived -= 1
            self._check()
        return True

    def _complete(self, completion: Any) -> None:
        receiving = int(completion.wr_id) == 1
        if int(completion.status) != WC_SUCCESS:
            kind = "Recv" if receiving else "Send"
            raise TransferError(
                f"NET/IB: Got completion from peer with status={int(completion.status)} "
                f"opcode={int(completion.opcode)} len={int(completion.byte_len)} "
                f"vendor err {int(completion.vendor_err)} ({kind}) "
                f"remoteGid {self._remote.get('gid')} hca {self.port.device}"
            )
        if receiving:
            self._arrived += 1
            self._post_recv()
        else:
            self._in_flight = 0

    def _check(self) -> None:
        data = self._in.read(STAMP.size, chunks(self._expect)[-1][0])
        if STAMP.unpack(bytes(data)) != (self._step, self._expect):
            raise TransferError(f"data of step {self._step} did not arrive on {self.port.device}")

    def close(self) -> None:
        """Destroy the verbs objects; the order matters."""
        for item in (self._send_qp, self._recv_qp, self._cq, self._out, self._in, self._pd):
            with contextlib.suppress(Exception):
                item.close()
        with contextlib.suppress(Exception):
            self.context.close()


class VerbsTransport:
    """All rails of one rank; each carries an equal part of the bytes."""

    name = "IB"

    def __init__(self, rails: Sequence[Rail], to_next: Wire, from_prev: Wire, say: Say) -> None:
        self._rails = list(rails)
        # A reads the answer of B only after it has sent its own: no order can deadlock.
        to_next.send({"send": [rail.describe(sending=True) for rail in self._rails]})
        from_prev.send({"recv": [rail.describe(sending=False) for rail in self._rails]})
        next_side, prev_side = to_next.recv(), from_prev.recv()
        if not next_side or not prev_side:
            raise VerbsError("bootstrap: Connection closed by remote peer")
        theirs, mine = next_side.get("recv", []), prev_side.get("send", [])
        if len(theirs) != len(self._rails) or len(mine) != len(self._rails):
            raise VerbsError("NET/IB : Local and remote rank use a different number of devices")
        for rail, ahead, behind in zip(self._rails, theirs, mine, strict=True):
            rail.connect(ahead, behind, say)
        # Nobody may write before the neighbour's queue pair can receive.
        to_next.send({"ready": 1})
        from_prev.send({"ready": 1})
        if not to_next.recv() or not from_prev.recv():
            raise VerbsError("bootstrap: Connection closed by remote peer")

    def exchange(self, step: int, send: int, receive: int, limit: float = 300.0) -> None:
        """Write `send` bytes to the next rank; return when they and the `receive` bytes of the
        previous rank are complete."""
        count = len(self._rails)
        for rail in self._rails:
            rail.start(step, send // count, receive // count)
        pending = list(self._rails)
        deadline = time.monotonic() + limit
        pause = 0.0
        while pending:
            left = [rail for rail in pending if not rail.advance()]
            if len(left) < len(pending):
                pause = 0.0
            pending = left
            if pending:
                # Sleeping leaves the CPU to the soft-RoCE threads that move the bytes.
                time.sleep(pause)
                pause = min(pause + 0.0005, 0.004)
                if time.monotonic() > deadline:
                    raise TransferError(f"no progress for {limit:.0f} s")

    def close(self) -> None:
        """Close every rail."""
        for rail in self._rails:
            rail.close()
