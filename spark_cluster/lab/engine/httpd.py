"""A small HTTP/1.1 server: a thread per connection, keep-alive, chunked streams.

The standard library's server costs half a second of imports on an emulated machine.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from .wire import Json, bound, serve_each

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
MAX_LINE = 1 << 16
MAX_HEADERS = 100


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


def _line(file: BinaryIO) -> str:
    line = file.readline(MAX_LINE)
    if not line.endswith(b"\r\n"):
        raise _Closed
    return line[:-2].decode("latin-1")


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise _Closed
    return data


def _body(file: BinaryIO, headers: dict[str, str], sock: socket.socket) -> bytes:
    if headers.get("expect", "").lower() == "100-continue":
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int(_line(file).split(";")[0] or "0", 16):
            parts.append(_exactly(file, size))
            _exactly(file, 2)
        _line(file)
        return b"".join(parts)
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= MAX_BODY:
        raise _Closed
    return _exactly(file, length)


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
        serve_each(self._socket, self._serve)

    def close(self) -> None:
        """Stop accepting."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(_Closed, OSError, ValueError), sock, sock.makefile("rb") as file:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            host, port = sock.getpeername()
            while self._one(sock, file, f"{host}:{port}"):
                pass

    def _one(self, sock: socket.socket, file: BinaryIO, peer: str) -> bool:
        method, target, version = _line(file).split(" ", 2)
        headers = {}
        while line := _line(file):
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
            if len(headers) > MAX_HEADERS:
                raise _Closed
        body = _body(file, headers, sock)
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
