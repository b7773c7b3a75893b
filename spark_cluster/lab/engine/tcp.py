"""Move a step's bytes between neighbouring ranks over plain TCP, as NET/Socket does."""

from __future__ import annotations

import select
import socket
import struct
import time

CHUNK = 1 << 20
HEADER = struct.Struct("<QQ")


class TransferError(Exception):
    """The bytes did not get across: the peer died or the link is down."""


class TcpTransport:
    """One connection to the next rank of the ring and one from the previous."""

    name = "Socket"

    def __init__(self, to_next: socket.socket, from_prev: socket.socket) -> None:
        self._next = to_next
        self._prev = from_prev
        self._block = memoryview(bytearray(CHUNK))
        self._inbox = memoryview(bytearray(CHUNK))
        for sock in (to_next, from_prev):
            sock.setblocking(False)

    def exchange(self, step: int, send: int, receive: int, limit: float = 300.0) -> None:
        """Send `send` bytes to the next rank and receive `receive` from the previous one."""
        send, receive = (max(way, HEADER.size) if way else 0 for way in (send, receive))
        head = HEADER.pack(step, send)
        sent = received = 0
        first = b""
        deadline = time.monotonic() + limit
        while sent < send or received < receive:
            readers = [self._prev] if received < receive else []
            writers = [self._next] if sent < send else []
            ready_in, ready_out, _ = select.select(readers, writers, [], 5.0)
            if time.monotonic() > deadline:
                raise TransferError(f"no progress for {limit:.0f} s")
            try:
                if ready_out:
                    if sent < len(head):
                        sent += self._next.send(head[sent:])
                    else:
                        sent += self._next.send(self._block[: min(CHUNK, send - sent)])
                if ready_in:
                    got = self._prev.recv_into(self._inbox[: min(CHUNK, receive - received)])
                    if not got:
                        raise TransferError("Connection closed by remote peer")
                    if len(first) < len(head):
                        first += bytes(self._inbox[: min(got, len(head) - len(first))])
                    received += got
            except BlockingIOError:
                continue
            except OSError as error:
                raise TransferError(f"socket error: {error}") from error
        if receive and first != HEADER.pack(step, receive):
            raise TransferError("message truncated: the ranks disagree about the step")

    def close(self) -> None:
        """Close both connections."""
        self._next.close()
        self._prev.close()
