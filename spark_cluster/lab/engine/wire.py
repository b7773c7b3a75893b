"""JSON objects, one a line, over a TCP connection."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


def serve_each(server: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Begin to accept connections, each in a thread of its own, until `server` is closed."""

    def accept() -> None:
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


class Wire:
    """A connection that carries JSON lines; sending is safe from several threads."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""
        self._lock = threading.Lock()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A peer whose cable was pulled must not hold a thread for the kernel's 15 minutes.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)

    @classmethod
    def connect(cls, host: str, port: int, limit: float = 10.0) -> Wire:
        """Connect, waiting at most `limit` seconds; afterwards the connection blocks."""
        sock = socket.create_connection((host, port), limit)
        sock.settimeout(None)
        return cls(sock)

    def send(self, message: Json) -> None:
        """Send one object."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self.sock.sendall(data)

    def recv(self) -> Json | None:
        """The next object; None when the peer has gone."""
        while b"\n" not in self._buffer:
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                raise
            except OSError:
                return None
            if not data:
                return None
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            message = json.loads(line)
        except ValueError:
            return None
        return message if isinstance(message, dict) else None

    def ask(self, message: Json) -> Json:
        """Send and wait for the answer; ConnectionError when there is none."""
        self.send(message)
        answer = self.recv()
        if answer is None:
            raise ConnectionError("the peer closed the connection")
        return answer

    def close(self) -> None:
        """Close; a thread that waits in recv() wakes up."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def bound(host: str, port: int) -> socket.socket:
    """A TCP socket that holds its address and refuses connections."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket."""
    sock = bound(host, port)
    try:
        sock.listen(256)
    except OSError:
        sock.close()
        raise
    return sock
