"""The checks of a server one by one: what is sent, and who judges what comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from spark_cluster.bench import images, prompts, results
from spark_cluster.bench.client import Client
from spark_cluster.bench.load import calibrate
from spark_cluster.bench.prompts import Calibration
from spark_cluster.runner.journal import new_run
from spark_cluster.serving.api import Response
from spark_cluster.serving.check import bodies, judges
from spark_cluster.serving.check.answers import Stream
from spark_cluster.serving.check.bodies import Body
from spark_cluster.serving.check.judges import Judgement, Running, Wants, skipped

#: Tokens of the longest prompt, unless the user says otherwise.
LONGEST = 32 * 1024

#: The share of the context that the long prompt takes.
_SHARE = 0.9

#: Tokens of an answer of which only matters that it comes.
_SHORT = 16

#: A longer context than this is not overrun: its prompt would be tens of megabytes.
_MOST_CONTEXT = 4 * 1024**2

#: Edge of the picture in pixels: what vision encoders are made for.
_EDGE = 224

#: Seconds between two looks at how many requests run.
_PAUSE = 0.25


@dataclass(frozen=True)
class Limits:
    """`longest` prompt in tokens, None: LONGEST where the context is known. `timeout` of each
    request in seconds, and `settle` for a cancelled one to end."""

    longest: int | None = None
    timeout: float = 300.0
    settle: float = 15.0


@dataclass(frozen=True)
class Server:
    """A server under check, and what its recipe promises. `salt` makes the long prompt one that no
    prefix cache knows."""

    client: Client
    about: results.Server
    wants: Wants
    limits: Limits
    salt: str = field(default_factory=new_run)

    @property
    def model(self) -> str:
        return self.about.model

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer together; None if the server does not tell."""
        told = self.about.max_model_len
        return told if told is not None and told > 1 else None

    @property
    def answer(self) -> int:
        return bodies.answer_tokens(self.context)

    async def ask(self, body: Body) -> Response:
        return await self.client.post(bodies.PATH, body, self.limits.timeout)

    async def listen(self, body: Body, *, first: bool = False) -> Stream:
        return await self.client.listen(bodies.PATH, body, self.limits.timeout, first=first)

    async def greet(self) -> Response:
        """A short request: does it still answer?"""
        return await self.ask(bodies.chat(self.model, min(_SHORT, self.answer)))


async def _chat(server: Server) -> Judgement:
    return judges.chat(await server.ask(bodies.chat(server.model, server.answer)))


async def _stream(server: Server) -> Judgement:
    body = bodies.streamed(bodies.chat(server.model, server.answer))
    return judges.stream(await server.listen(body))


async def _tools(server: Server) -> Judgement:
    return judges.tools(await server.ask(bodies.tools(server.model, server.answer)))


async def _reasoning(server: Server) -> Judgement:
    answer = await server.ask(bodies.reasoning(server.model, server.answer))
    return judges.reasoning(answer, server.wants.reasoning)


async def _json(server: Server) -> Judgement:
    return judges.structured(await server.ask(bodies.structured(server.model, server.answer)))


async def _image(server: Server) -> Judgement:
    if server.wants.images is False:
        return skipped("the recipe takes no images")
    picture = images.data_url(images.plain(_EDGE, bodies.RGB))
    answer = await server.ask(bodies.image(server.model, server.answer, picture))
    return judges.image(answer, server.wants.images)


async def _long(server: Server) -> Judgement:
    context, longest = server.context, server.limits.longest
    if context is None and longest is None:
        return skipped("the server tells no max_model_len; --longest-prompt N tries N tokens")
    room = LONGEST if longest is None else longest
    tokens = max(1, min(room, int((context or room / _SHARE) * _SHARE)))
    calibration = await calibrate(server.client, server.about)
    words = prompts.prompt(calibration, tokens, server.salt)
    answer = await server.ask(bodies.long(server.model, _least_answer(context), words))
    return judges.long(answer, tokens, exact=calibration.exact)


def _least_answer(context: int | None) -> int:
    """Part of the tenth that the prompt leaves; the chat template has the rest."""
    return _SHORT if context is None else max(1, min(_SHORT, context // 40))


async def _too_long(server: Server) -> Judgement:
    context = server.context
    if context is None:
        return skipped("the server tells no max_model_len")
    if context > _MOST_CONTEXT:
        return skipped(f"a context of {context} tokens is too long to overrun")
    # A word is one token at least.
    words = prompts.prompt(Calibration(), context + _SHORT, server.salt)
    answer = await server.ask(bodies.long(server.model, 1, words))
    return judges.too_long(answer, await server.greet(), context)


async def _together(server: Server) -> Judgement:
    body = bodies.together(server.model, server.context)
    return judges.together(*await asyncio.gather(server.listen(body), server.listen(body)))


async def _cancel(server: Server) -> Judgement:
    before = (await server.client.metrics()).running
    body = bodies.cancelled(server.model, server.context)
    begun = await server.listen(body, first=True)
    closed = time.perf_counter()
    after = await server.greet()
    now = await _settled(server, before, closed)
    return judges.cancel(begun, after, Running(before, now, time.perf_counter() - closed))


async def _settled(server: Server, before: float | None, closed: float) -> float | None:
    """How many requests run once they are no more than before, or when the time is up."""
    if before is None:
        return None
    while True:
        now = (await server.client.metrics()).running
        if now is None or now <= before or time.perf_counter() - closed > server.limits.settle:
            return now
        await asyncio.sleep(_PAUSE)


#: The checks in their order, by the names that `--only` takes.
CHECKS: Mapping[str, Callable[[Server], Awaitable[Judgement]]] = {
    "chat": _chat,
    "stream": _stream,
    "tools": _tools,
    "reasoning": _reasoning,
    "json": _json,
    "image": _image,
    "long": _long,
    "too-long": _too_long,
    "together": _together,
    "cancel": _cancel,
}
