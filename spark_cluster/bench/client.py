"""The server, asked over HTTP with httpx: what it is, what it counts, and one streamed request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from spark_cluster.bench.plan import Query
from spark_cluster.bench.results import Request, Server
from spark_cluster.bench.sse import Answer, Events
from spark_cluster.core.error import CheckFailed, InputError, Unreachable
from spark_cluster.core.secret import Secret
from spark_cluster.serving import metrics
from spark_cluster.serving.api import Response, count_of, json_object, message_of
from spark_cluster.serving.check.answers import Stream, has_begun, quoted

#: Seconds for a connection to open.
_CONNECT = 10.0

#: Seconds for an answer about the server itself.
_SHORT = 30.0

#: Seconds that an idle connection is kept: less than vLLM's server keeps it (5).
_KEPT = 3.0

#: Bytes of a stream's beginning that are kept, as long as no event is in it.
_SHORT_BODY = 64 * 1024

#: Bytes of one answer that are read; a longer one is cut, and so no JSON any more.
_MOST = 4 * 1024**2


def base_url(given: str) -> str:
    """`http://host:port` of an endpoint, also when it was given with its /v1 or without http://.

    Raises InputError for what is no such address.
    """
    text = given if "://" in given else f"http://{given}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https") or parts.username or parts.query:
        raise InputError(
            f"--endpoint {given}: not the address of an API",
            remedy="Give it as http://HOST:PORT; a key goes by --api-key-env.",
        )
    host = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{path}"


class Client:
    """One server. `async with` opens and closes its connections."""

    def __init__(self, base: str, *, key: Secret | None = None, stall: float = 600.0) -> None:
        self.base = base
        self._stall = stall
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key.reveal()}"
        self._http = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            timeout=httpx.Timeout(None, connect=_CONNECT),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=_KEPT),
            trust_env=False,
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    # About the server

    async def server(self, model: str | None = None) -> Server:
        """What it serves; `model` chooses one of several.

        Raises Unreachable, CheckFailed (it answers, and not as an API does), InputError.
        """
        try:
            answer = await self._exchange(self._http.build_request("GET", "/v1/models"), _SHORT)
        except httpx.HTTPError as error:
            raise Unreachable(
                f"{self.base}: {reason(error)}",
                remedy="Is the server up, and the address right? `spark-cluster status` shows what "
                "runs and on which port; a launch ends with its address.",
            ) from error
        if not answer.ok:
            raise CheckFailed(
                f"{self.base}/v1/models: {quoted(message_of(answer))}",
                remedy="--api-key-env NAME gives the key in that variable."
                if answer.status in (401, 403)
                else "Give the address of an OpenAI-compatible API, such as http://HOST:8000.",
            )
        entry = _entry(answer.body, model, self.base)
        length = entry.get("max_model_len")
        return Server(
            endpoint=self.base,
            model=str(entry["id"]),
            root=str(entry.get("root") or ""),
            owned_by=str(entry.get("owned_by") or ""),
            version=await self._version(),
            max_model_len=length if isinstance(length, int) else None,
        )

    async def _version(self) -> str:
        found = json_object(await self._text("GET", "/version") or "").get("version")
        return found if isinstance(found, str) else ""

    async def count(self, model: str, text: str) -> int | None:
        """Tokens of a text by the server's tokenizer; None if it has no /tokenize."""
        body = {"model": model, "prompt": text}
        found = json_object(await self._text("POST", "/tokenize", body) or "")
        return count_of(found, "count") or None

    async def prompt_tokens(self, model: str, text: str) -> int | None:
        """Tokens of a text by the usage of a real, short answer to it."""
        body = {"model": model, "prompt": text, "max_tokens": 1}
        found = json_object(await self._text("POST", "/v1/completions", body) or "")
        return count_of(found.get("usage"), "prompt_tokens") or None

    async def metrics(self) -> metrics.Metrics:
        """The server's own counts; without any if it does not tell them."""
        return metrics.read(await self._text("GET", "/metrics") or "")

    async def _text(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> str | None:
        """The body of an answer with 200; None for any other."""
        try:
            request = self._http.build_request(method, path, json=body)
            answer = await self._exchange(request, _SHORT)
        except httpx.HTTPError:
            return None
        return answer.body if answer.ok and not answer.error else None

    async def _exchange(self, request: httpx.Request, seconds: float) -> Response:
        """One request and its whole answer. Raises httpx.HTTPError, for one that is late, too."""
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(seconds):
                response = await self._http.send(request, stream=True)
                async with contextlib.aclosing(response):
                    body, error = bytearray(), ""
                    async for data in response.aiter_bytes():
                        body += data
                        if len(body) > _MOST:
                            error = f"the answer is longer than {_MOST // 1024**2} MiB"
                            break
        except TimeoutError:
            raise httpx.ReadTimeout("late", request=request) from None
        took = time.perf_counter() - begun
        return Response(response.status_code, body.decode(errors="replace"), error, took)

    # One question and its answer, whatever it is

    async def post(self, path: str, body: Mapping[str, Any], seconds: float) -> Response:
        """The answer to a JSON body, within so many seconds; never raises for what the server
        does."""
        request = self._http.build_request("POST", path, json=body)
        try:
            return await self._exchange(request, seconds)
        except httpx.HTTPError as problem:
            return Response(None, "", _why(problem, seconds))

    async def listen(
        self, path: str, body: Mapping[str, Any], seconds: float, *, first: bool = False
    ) -> Stream:
        """The events of a streamed answer within so many seconds; never raises for what the server
        does. `first`: hang up at the first one that carries something."""
        begun = time.perf_counter()
        kept, read, status, rest = list[tuple[float, bytes]](), 0, None, b""
        splitter, error = Events(), ""
        try:
            async with asyncio.timeout(seconds):
                request = self._http.build_request("POST", path, json=body)
                response = await self._http.send(request, stream=True)
                async with contextlib.aclosing(response):
                    status = response.status_code
                    async for data in response.aiter_bytes():
                        read += len(data)
                        rest = rest if kept else (rest + data)[:_SHORT_BODY]
                        now = time.perf_counter() - begun
                        events = splitter.feed(data)
                        kept += [(now, event) for event in events]
                        if first and any(map(has_begun, events)):
                            break
                        if read > _MOST:
                            error = f"more than {_MOST // 1024**2} MiB came"
                            break
        except TimeoutError:
            error = f"no end within {seconds:g} s"
        except httpx.HTTPError as problem:
            error = _why(problem, seconds)
        return Stream(status, tuple(kept), rest.decode(errors="replace"), error)

    # One request

    def prepare(self, query: Query) -> httpx.Request:
        """All that can be done before the clock runs."""
        return self._http.build_request("POST", query.path, content=query.body)

    async def ask(self, request: httpx.Request, begun: float) -> Request:
        """Send it and read its stream to the end; never raises for what the server does.

        `begun` is the level's begin by time.perf_counter.
        """
        answer, error = Answer(), ""
        start = time.perf_counter()
        try:
            async with asyncio.timeout(self._stall) as limit:
                error = await self._stream(request, answer, limit)
        except TimeoutError:
            error = f"stalled: no token within {self._stall:g} s"
        except httpx.HTTPError as problem:
            error = reason(problem)
        error = error or answer.error or _unfinished(answer)
        return Request(
            start=round(start - begun, 6),
            ttft=_since(start, answer.first),
            latency=_since(start, answer.last),
            prompt_tokens=answer.prompt_tokens or 0,
            output_tokens=answer.output_tokens,
            gaps=tuple(round(gap, 6) for gap in answer.gaps),
            error=error,
        )

    async def _stream(self, request: httpx.Request, answer: Answer, limit: asyncio.Timeout) -> str:
        """Why it failed, empty if it did not; every token sets the time limit anew."""
        clock = asyncio.get_running_loop().time
        events, chunks = Events(), 0
        response = await self._http.send(request, stream=True)
        async with contextlib.aclosing(response):
            if response.status_code != 200:
                body = (await response.aread()).decode(errors="replace")
                return _said(response.status_code, body)
            async for data in response.aiter_raw():
                now = time.perf_counter()
                for event in events.feed(data):
                    answer.take(event, now)
                if answer.chunks > chunks:
                    chunks = answer.chunks
                    limit.reschedule(clock() + self._stall)
        return ""


def reason(error: httpx.HTTPError) -> str:
    """A few words that are the same for every request that failed so."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio's own words have the address in them; getaddrinfo's numbers are negative.
            number = cause.errno or 0
            text = os.strerror(number) if number > 0 else cause.strerror
            return text[0].lower() + text[1:]
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {_CONNECT:g} s"
    if isinstance(error, httpx.TimeoutException):
        return f"no answer within {_SHORT:g} s"
    if isinstance(error, httpx.ConnectError):
        return "no connection: all attempts failed" if "attempts" in str(error) else str(error)
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return "the connection broke off"
    return str(error) or type(error).__name__


def _why(problem: httpx.HTTPError, seconds: float) -> str:
    """`reason`, for an answer that had so many seconds."""
    late = isinstance(problem, httpx.ReadTimeout)
    return f"no answer within {seconds:g} s" if late else reason(problem)


def _said(status: int, body: str) -> str:
    return message_of(Response(status, body))


def _unfinished(answer: Answer) -> str:
    if answer.first is None:
        return "no token came"
    return "" if answer.done else "the stream ended before it was complete"


def _since(start: float, moment: float | None) -> float | None:
    return None if moment is None else round(moment - start, 6)


def _entry(text: str, model: str | None, base: str) -> Mapping[str, Any]:
    listed = json_object(text).get("data")
    entries = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    entries = [entry for entry in entries if isinstance(entry.get("id"), str)]
    if not entries:
        raise CheckFailed(
            f"{base}/v1/models lists no model",
            remedy="Give the address of an OpenAI-compatible API that serves a model.",
        )
    names = [entry["id"] for entry in entries]
    if model is not None and model not in names:
        raise InputError(
            f"--model {model}: the server does not serve it",
            remedy=f"It serves {quoted(', '.join(names))}.",
        )
    return next(entry for entry in entries if model in (None, entry["id"]))
