"""A small HTTP/1.1 server: a thread per connection, keep-alive, chunked streams.

The standard library's server costs half a second of imports on an emulated machine.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

from .wire import Json, bound

REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    422: "Unprocessable Entity",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
MAX_BODY = 64 << 20


class Request(NamedTuple):
    """One request, read completely."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    peer: str
    sock: socket.socket

    def gone(self) -> bool:
        """Has the client hung up?"""
        try:
            return self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class Responder:
    """Writes the answer to one request."""

    def __init__(self, sock: socket.socket, request: Request, log: Callable[[str], None]) -> None:
        self._sock = sock
        self._request = request
        self._log = log
        self.started = False

    def _head(self, status: int, kind: str, extra: str) -> bytes:
        self.started = True
        request = self._request
        reason = REASONS.get(status, "")
        target = request.path
        self._log(f'{request.peer} - "{request.method} {target} HTTP/1.1" {status} {reason}')
        lines = f"HTTP/1.1 {status} {reason}\r\nserver: uvicorn\r\ncontent-type: {kind}\r\n{extra}"
        return (lines + "\r\n").encode()

    def send(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        """A whole answer."""
        head = self._head(status, kind, f"content-length: {len(body)}\r\n")
        self._sock.sendall(head if self._request.method == "HEAD" else head + body)

    def json(self, status: int, value: object) -> None:
        """A whole answer in JSON."""
        body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        self.send(status, body, "application/json")

    def start_stream(self) -> None:
        """Begin server-sent events."""
        extra = "transfer-encoding: chunked\r\ncache-control: no-cache\r\n"
        self._sock.sendall(self._head(200, "text/event-stream; charset=utf-8", extra))

    def event(self, data: str) -> None:
        """One event."""
        body = f"data: {data}\n\n".encode()
        self._sock.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")

    def end_stream(self) -> None:
        """The stream is complete."""
        self._sock.sendall(b"0\r\n\r\n")


Handler = Callable[[Request, Responder], None]


class _Closed(Exception):
    """The client went, or sent something that is not HTTP."""


class _Reader:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = b""

    def _more(self) -> None:
        data = self._sock.recv(65536)
        if not data:
            raise _Closed
        self._data += data

    def until(self, mark: bytes, limit: int = 1 << 16) -> bytes:
        while mark not in self._data:
            if len(self._data) > limit:
                raise _Closed
            self._more()
        part, self._data = self._data.split(mark, 1)
        return part

    def exactly(self, count: int) -> bytes:
        while len(self._data) < count:
            self._more()
        part, self._data = self._data[:count], self._data[count:]
        return part


def _body(reader: _Reader, headers: dict[str, str], sock: socket.socket) -> bytes:
    if headers.get("expect", "").lower() == "100-continue":
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int(reader.until(b"\r\n").split(b";")[0] or b"0", 16):
            parts.append(reader.exactly(size))
            reader.exactly(2)
        reader.until(b"\r\n")
        return b"".join(parts)
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= MAX_BODY:
        raise _Closed
    return reader.exactly(length)


def _query(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in text.split("&") if item)
    return {key: value for key, _, value in pairs}


class Server:
    """Accepts connections on one address until closed."""

    def __init__(
        self, host: str, port: int, handler: Handler, log: Callable[[str], None] | None = None
    ) -> None:
        self._handler = handler
        self._log = log or (lambda _: None)
        self._socket = bound(host, port)
        self.port = int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Serve in the background; until now, connections were refused."""
        self._socket.listen(256)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop accepting."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, address = self._socket.accept()
            except OSError:
                return
            peer = f"{address[0]}:{address[1]}"
            threading.Thread(target=self._serve, args=(sock, peer), daemon=True).start()

    def _serve(self, sock: socket.socket, peer: str) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = _Reader(sock)
        with sock, contextlib.suppress(_Closed, OSError, ValueError):
            while self._one(sock, reader, peer):
                pass

    def _one(self, sock: socket.socket, reader: _Reader, peer: str) -> bool:
        lines = reader.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        method, target, version = lines[0].split(" ", 2)
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = _body(reader, headers, sock)
        path, _, query = target.partition("?")
        request = Request(method, path, _query(query), headers, body, peer, sock)
        responder = Responder(sock, request, self._log)
        try:
            self._handler(request, responder)
        except (OSError, _Closed):
            raise
        except Exception as error:
            if responder.started:
                raise _Closed from error
            responder.json(500, error_body(str(error), "Internal Server Error", 500))
        keep = headers.get("connection", "").lower()
        return keep == "keep-alive" if version == "HTTP/1.0" else keep != "close"


def error_body(message: str, kind: str, code: int, param: str | None = None) -> Json:
    """An error as vLLM 0.11 answers it."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
