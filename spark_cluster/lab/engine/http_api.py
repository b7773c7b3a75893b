"""The OpenAI-compatible API of `vllm serve`."""

from __future__ import annotations

import json
import queue
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .httpd import Request, Responder, error_body
from .metrics import Metrics
from .scheduler import Engine, EngineDead, Event, Generation
from .wire import Json
from .words import count_tokens

OWNER = "spark-lab"
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."


class BadRequest(Exception):
    """The request is refused; `status` and `kind` as in vLLM."""

    def __init__(self, text: str, status: int = 400, kind: str = "BadRequestError") -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind


class Settings(NamedTuple):
    """What the routes need to know of the server."""

    names: Sequence[str]
    root: str
    context: int
    version: str
    by_priority: bool
    api_keys: Sequence[str]


class Job(NamedTuple):
    """A request in the engine, with what its answer needs."""

    id: str
    chat: bool
    model: str
    created: int
    generations: list[Generation]
    events: queue.SimpleQueue[Event]
    prompt_tokens: int
    usage: bool


def _random_id() -> str:
    return f"{random.getrandbits(128):032x}"


def chat_text(messages: object) -> tuple[str, int]:
    """The prompt of a chat, and what its images add in tokens."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages: Field required")
    parts, images = [], 0
    for message in messages:
        if not isinstance(message, dict) or "role" not in message:
            raise BadRequest("messages: each message needs a role")
        content = message.get("content") or ""
        for part in content if isinstance(content, list) else [{"text": content}]:
            if isinstance(part, dict) and part.get("type") in ("image_url", "video_url"):
                images += 256
            else:
                parts.append(str(part.get("text", "")) if isinstance(part, dict) else str(part))
    return "\n".join(parts), images + 4 * len(messages) + 3


def prompts_of(body: Json, chat: bool) -> list[tuple[str, int]]:
    """Each prompt's text and its number of tokens."""
    if chat:
        text, extra = chat_text(body.get("messages"))
        return [(text, count_tokens(text) + extra)]
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return [(prompt, count_tokens(prompt))]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(item, int) for item in prompt):
            return [("", len(prompt))]
        if all(isinstance(item, str) for item in prompt):
            return [(item, count_tokens(item)) for item in prompt]
        if all(isinstance(item, list) for item in prompt):
            return [("", len(item)) for item in prompt]
    raise BadRequest("prompt: Field required")


def _integer(body: Json, name: str, default: int, least: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest(f"{name}: Input should be a valid integer")
    if value < least:
        raise BadRequest(f"{name} must be at least {least}, got {value}.")
    return value


class Api:
    """The routes."""

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics) -> None:
        self._settings = settings
        self._engine = engine
        self._metrics = metrics
        self._created = int(time.time())

    def handle(self, request: Request, answer: Responder) -> None:
        """Answer one request."""
        routes: dict[tuple[str, str], Callable[[Request, Responder], None]] = {
            ("GET", "/health"): self._health,
            ("GET", "/ping"): self._health,
            ("POST", "/ping"): self._health,
            ("GET", "/version"): lambda _, a: a.json(200, {"version": self._settings.version}),
            ("GET", "/load"): lambda _, a: a.json(200, {"server_load": 0}),
            ("GET", "/metrics"): self._page,
            ("GET", "/v1/models"): lambda _, a: a.json(200, self._models()),
            ("POST", "/v1/completions"): lambda r, a: self._generate(r, a, chat=False),
            ("POST", "/v1/chat/completions"): lambda r, a: self._generate(r, a, chat=True),
            ("POST", "/tokenize"): self._tokenize,
        }
        method = "GET" if request.method == "HEAD" else request.method
        route = routes.get((method, request.path))
        if route is None:
            known = any(path == request.path for _, path in routes)
            status, text = (405, "Method Not Allowed") if known else (404, "Not Found")
            answer.json(status, {"detail": text})
            return
        if self._settings.api_keys and request.path.startswith("/v1"):
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if given not in self._settings.api_keys:
                answer.json(401, {"error": "Unauthorized"})
                return
        route(request, answer)

    def _health(self, _: Request, answer: Responder) -> None:
        # What the engine knows: not every executor sees a rank that died before the next step.
        answer.send(503 if self._engine.dead else 200, b"")

    def _page(self, _: Request, answer: Responder) -> None:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        answer.send(200, self._metrics.text().encode(), kind)

    def _models(self) -> Json:
        now = int(time.time())
        permission = {
            "id": f"modelperm-{_random_id()}",
            "object": "model_permission",
            "created": now,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        data = [
            {
                "id": name,
                "object": "model",
                "created": now,
                "owned_by": OWNER,
                "root": self._settings.root,
                "parent": None,
                "max_model_len": self._settings.context,
                "permission": [permission],
            }
            for name in self._settings.names
        ]
        return {"object": "list", "data": data}

    def _tokenize(self, request: Request, answer: Responder) -> None:
        body = json.loads(request.body or b"{}")
        _, count = prompts_of(body, "messages" in body)[0]
        tokens = list(range(count))
        answer.json(
            200,
            {"count": count, "max_model_len": self._settings.context, "tokens": tokens},
        )

    # -- generation ---------------------------------------------------------------------------

    def _generate(self, request: Request, answer: Responder, *, chat: bool) -> None:
        status = 200
        try:
            body = self._parse(request.body)
            job = self._submit(body, chat)
            if body.get("stream"):
                self._stream(job, request, answer)
            else:
                self._whole(job, request, answer)
        except BadRequest as error:
            status = error.status
            answer.json(status, error_body(str(error), error.kind, status))
        except EngineDead:
            status = 500
            if not answer.started:
                answer.json(500, error_body(DEAD, "InternalServerError", 500))
        finally:
            self._metrics.http(request.method, request.path, status)

    @staticmethod
    def _parse(data: bytes) -> Json:
        try:
            body = json.loads(data)
        except ValueError as error:
            raise BadRequest(f"JSON decode error: {error}") from error
        if not isinstance(body, dict):
            raise BadRequest("Input should be a valid dictionary")
        return body

    def _submit(self, body: Json, chat: bool) -> Job:
        settings = self._settings
        model = body.get("model") or settings.names[0]
        if model not in settings.names:
            raise BadRequest(f"The model `{model}` does not exist.", 404, "NotFoundError")
        priority = _integer(body, "priority", 0, -(2**31))
        if priority and not settings.by_priority:
            raise BadRequest(f"Got priority {priority} but Priority scheduling is not enabled.")
        found = prompts_of(body, chat)
        wanted = body.get("max_completion_tokens") if chat else None
        limit = _integer(
            {"max_tokens": wanted if wanted is not None else body.get("max_tokens")},
            "max_tokens",
            settings.context if chat else 16,
            1,
        )
        least = _integer(body, "min_tokens", 0, 0)
        if least > limit:
            raise BadRequest(
                f"min_tokens must be less than or equal to max_tokens={limit}, got {least}."
            )
        stop = body.get("stop") or []
        stop = [stop] if isinstance(stop, str) else [str(item) for item in stop]
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        generations: list[Generation] = []
        copies = _integer(body, "n", 1, 1)
        for text, tokens in [item for item in found for _ in range(copies)]:
            room = settings.context - tokens
            if room < 1 or (limit > room and not (chat and limit == settings.context)):
                raise BadRequest(
                    f"This model's maximum context length is {settings.context} tokens. However, "
                    f"you requested {tokens + limit} tokens ({tokens} in the messages, {limit} in "
                    "the completion). Please reduce the length of the messages or completion."
                )
            generations.append(
                Generation(
                    text,
                    tokens,
                    min(limit, room),
                    min_tokens=least,
                    ignore_eos=bool(body.get("ignore_eos")),
                    priority=priority,
                    stop=stop,
                    index=len(generations),
                    events=events,
                )
            )
        options = body.get("stream_options") or {}
        job = Job(
            id=f"{'chatcmpl' if chat else 'cmpl'}-{_random_id()}",
            chat=chat,
            model=str(model),
            created=int(time.time()),
            generations=generations,
            events=events,
            prompt_tokens=sum(tokens for _, tokens in found),
            usage=bool(options.get("include_usage")) if isinstance(options, dict) else False,
        )
        for generation in generations:
            self._engine.submit(generation)
        return job

    def _events(self, job: Job, request: Request) -> Any:
        """The events of a job; a client that hangs up cancels it."""
        left = len(job.generations)
        while left:
            try:
                event = job.events.get(timeout=1.0)
            except queue.Empty:
                if request.gone():
                    for generation in job.generations:
                        generation.cancelled = True
                    raise ConnectionError("the client has gone") from None
                continue
            if event.reason == "error":
                raise EngineDead(event.error)
            left -= event.reason is not None
            yield event

    @staticmethod
    def _usage(job: Job) -> Json:
        made = sum(generation.generated for generation in job.generations)
        return {
            "prompt_tokens": job.prompt_tokens,
            "total_tokens": job.prompt_tokens + made,
            "completion_tokens": made,
            "prompt_tokens_details": None,
        }

    def _whole(self, job: Job, request: Request, answer: Responder) -> None:
        texts = [""] * len(job.generations)
        reasons: list[str | None] = [None] * len(job.generations)
        for event in self._events(job, request):
            texts[event.index] += event.text
            reasons[event.index] = event.reason
        choices: list[Json] = []
        for index, (text, reason) in enumerate(zip(texts, reasons, strict=True)):
            if job.chat:
                message: Json = {
                    "role": "assistant",
                    "content": text,
                    "refusal": None,
                    "tool_calls": [],
                    "reasoning_content": None,
                }
                choices.append({"index": index, "message": message, **_ending(reason)})
            else:
                choices.append({"index": index, "text": text, **_ending(reason)})
        answer.json(200, {**self._frame(job, whole=True), "choices": choices, **self._tail(job)})

    def _tail(self, job: Job) -> Json:
        return {
            "service_tier": None,
            "system_fingerprint": None,
            "usage": self._usage(job),
            "kv_transfer_params": None,
        }

    @staticmethod
    def _frame(job: Job, *, whole: bool) -> Json:
        kind = "text_completion"
        if job.chat:
            kind = "chat.completion" if whole else "chat.completion.chunk"
        return {"id": job.id, "object": kind, "created": job.created, "model": job.model}

    def _stream(self, job: Job, request: Request, answer: Responder) -> None:
        frame = self._frame(job, whole=False)

        def send(choices: list[Json], **more: object) -> None:
            chunk = {**frame, "choices": choices, **more}
            answer.event(json.dumps(chunk, separators=(",", ":"), ensure_ascii=False))

        # The status line goes out with the first token: a dead engine still answers 500.
        begun = False
        try:
            for event in self._events(job, request):
                if not begun:
                    begun = True
                    answer.start_stream()
                    for generation in job.generations if job.chat else ():
                        send([_chat_delta(generation.index, {"role": "assistant", "content": ""})])
                if job.chat:
                    delta = {"content": event.text}
                    send([_chat_delta(event.index, delta, event.reason)])
                else:
                    send([{"index": event.index, "text": event.text, **_ending(event.reason)}])
        except EngineDead:
            if not begun:
                raise
            answer.event(json.dumps(error_body(DEAD, "InternalServerError", 500)))
        else:
            if job.usage:
                send([], usage=self._usage(job))
        answer.event("[DONE]")
        answer.end_stream()


def _ending(reason: str | None) -> Json:
    return {"logprobs": None, "finish_reason": reason, "stop_reason": None}


def _chat_delta(index: int, delta: Json, reason: str | None = None) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
