"""A small real HTTP server that streams completions as vLLM does, and misbehaves on demand.

It remembers when it received each request and when it wrote each token, by the clock that the
client uses, too: what the client measures can be held against it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "served"


@dataclass
class Behaviour:
    """`first` and `gap` in seconds; `per_chunk` tokens share a chunk. After so many tokens:
    `breaks` the connection, `stalls`, says an `error`, or is done (`early`)."""

    first: float = 0.01
    gap: float = 0.001
    per_chunk: int = 1
    context: int = 4096
    tokenizer: bool = True
    usage: bool = True
    refuse_every: int = 0
    breaks: int | None = None
    stalls: int | None = None
    error: int | None = None
    early: int | None = None
    key: str = ""


@dataclass
class Served:
    """A completion that was asked for: its body, when it came, when its chunks were written."""

    path: str
    body: dict[str, Any]
    received: float
    written: list[float] = field(default_factory=list)


class BenchServer:
    """Listens on a free port of loopback until closed."""

    def __init__(self, **behaviour: Any) -> None:
        self.does = Behaviour(**behaviour)
        self.asked: list[Served] = []
        self.most_at_once = 0
        self.on_token: Callable[[], None] = lambda: None
        self._now = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._over.set()
        self._http.shutdown()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.get(self)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received = time.perf_counter()
                server.post(self, json.loads(body), received)

        return Handler

    def get(self, request: BaseHTTPRequestHandler) -> None:
        if self.does.key and request.headers.get("authorization") != f"Bearer {self.does.key}":
            _json(request, 401, {"error": "Unauthorized"})
        elif request.path == "/v1/models":
            entry = {"id": MODEL, "owned_by": "test", "max_model_len": self.does.context}
            _json(request, 200, {"object": "list", "data": [entry]})
        elif request.path == "/version":
            _json(request, 200, {"version": "9.9"})
        else:
            _json(request, 404, {"detail": "Not Found"})

    def post(self, request: BaseHTTPRequestHandler, body: dict[str, Any], received: float) -> None:
        if request.path == "/tokenize":
            if self.does.tokenizer:
                _json(request, 200, {"count": len(body["prompt"].split())})
            else:
                _json(request, 404, {"detail": "Not Found"})
            return
        if not body.get("stream"):
            usage = {"prompt_tokens": len(body["prompt"].split()), "completion_tokens": 1}
            known = {"usage": usage} if self.does.usage else {}
            _json(request, 200, {"choices": [{"text": "x"}], **known})
            return
        with self._lock:
            served = Served(request.path, body, received)
            self.asked.append(served)
            number = len(self.asked)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            if self.does.refuse_every and number % self.does.refuse_every == 0:
                error = {"message": "too many requests", "code": 429}
                _json(request, 429, {"error": error})
            else:
                self._stream(request, served)
        finally:
            with self._lock:
                self._now -= 1

    def _stream(self, request: BaseHTTPRequestHandler, served: Served) -> None:
        does, chat = self.does, "chat" in served.path
        _begin(request)
        if chat:
            _event(request, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        wanted = served.body["max_tokens"] if does.early is None else does.early
        made = 0
        while made < wanted:
            time.sleep(does.gap if made else does.first)
            if made == does.breaks:
                request.close_connection = True
                return
            if made == does.stalls:
                self._over.wait(60)
                return
            if made == does.error:
                _event(request, {"error": {"message": "EngineCore died", "code": 500}})
                break
            count = min(does.per_chunk, wanted - made)
            made += count
            for _ in range(count):
                self.on_token()
            reason = "length" if made == wanted else None
            choice = {"delta": {"content": "x " * count}} if chat else {"text": "x " * count}
            served.written.append(time.perf_counter())
            _event(request, {"choices": [{"index": 0, "finish_reason": reason, **choice}]})
        if does.usage:
            usage = {"prompt_tokens": _prompt_tokens(served.body), "completion_tokens": made}
            _event(request, {"choices": [], "usage": usage})
        _chunk(request, b"data: [DONE]\n\n")
        _chunk(request, b"")


def _prompt_tokens(body: dict[str, Any]) -> int:
    if "prompt" in body:
        return len(body["prompt"].split())
    parts = body["messages"][0]["content"]
    return sum(100 if "image_url" in part else len(part["text"].split()) for part in parts)


def _json(request: BaseHTTPRequestHandler, status: int, value: object) -> None:
    data = json.dumps(value).encode()
    request.send_response(status)
    request.send_header("content-type", "application/json")
    request.send_header("content-length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


def _begin(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("content-type", "text/event-stream")
    request.send_header("transfer-encoding", "chunked")
    request.end_headers()


def _event(request: BaseHTTPRequestHandler, value: object) -> None:
    _chunk(request, b"data: " + json.dumps(value).encode() + b"\n\n")


def _chunk(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    request.wfile.flush()
