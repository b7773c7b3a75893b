"""Levels of load: workers that each keep one request under way, and what came of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from spark_cluster.bench import prompts, stats
from spark_cluster.bench.client import Client
from spark_cluster.bench.host_samples import Sampler
from spark_cluster.bench.notes import level_notes
from spark_cluster.bench.plan import Settings, Step, queries
from spark_cluster.bench.prompts import Calibration
from spark_cluster.bench.results import HostFigures, Level, Request, Server
from spark_cluster.serving.metrics import Metrics

#: A level is given up after this many failures without a success between, or one of each worker.
_LEAST_FAILURES = 3

_TRIAL_WORDS = 200


class Watcher(Protocol):
    """Who is told how it goes."""

    def progress(self, step: Step, done: int, failed: int) -> None:
        """A request of the level has ended."""

    def finished(self, level: Level) -> None:
        """The level is over."""


@dataclass
class _Course:
    """A level under way."""

    concurrency: int
    left: int | None
    until: float | None
    done: list[Request] = field(default_factory=list)
    failed: int = 0
    in_a_row: int = 0

    @property
    def given_up(self) -> bool:
        return self.in_a_row >= max(_LEAST_FAILURES, self.concurrency)

    def next(self) -> bool:
        """Whether another request shall be sent; it is then counted as sent."""
        if self.given_up or (self.until is not None and time.perf_counter() >= self.until):
            return False
        if self.left is not None:
            if self.left == 0:
                return False
            self.left -= 1
        return True

    def add(self, request: Request) -> None:
        self.done.append(request)
        self.failed += bool(request.error)
        self.in_a_row = self.in_a_row + 1 if request.error else 0


async def calibrate(client: Client, server: Server) -> Calibration:
    """How the server counts our words: by its tokenizer, else by an answer's usage."""

    async def count(text: str) -> int | None:
        return await client.count(server.model, text)

    found = await prompts.calibrate(count)
    if found is not None:
        return found
    text = prompts.prompt(Calibration(), _TRIAL_WORDS, "calibration")
    tokens = await client.prompt_tokens(server.model, text)
    return prompts.estimated(_TRIAL_WORDS, tokens) if tokens else Calibration()


@dataclass(frozen=True)
class Load:
    """A run's levels on one server; `watcher` gets each as it ends."""

    client: Client
    server: Server
    settings: Settings
    calibration: Calibration
    watcher: Watcher
    beside: Sampler | None = None

    async def run(self, steps: Sequence[Step]) -> None:
        """The levels in order. One in which nothing succeeded is the last: the server is gone, or
        refuses."""
        for step in steps:
            course = _Course(step.concurrency, step.warm_up, None)
            warm_up = self._requests(step, warm_up=True)
            await _run(self.client, step, warm_up, course, time.perf_counter())
            level = await self._level(step)
            self.watcher.finished(level)
            if not level.summary.ok:
                return

    def _requests(self, step: Step, *, warm_up: bool = False) -> Iterator[httpx.Request]:
        todo = queries(step, self.settings, self.calibration, self.server.model, warm_up=warm_up)
        return map(self.client.prepare, todo)

    async def _level(self, step: Step) -> Level:
        todo = self._requests(step)
        if step.requests is not None:  # made now: later it would take time from the tokens
            todo = iter(list(itertools.islice(todo, step.requests)))
        if self.beside is not None:
            await asyncio.to_thread(self.beside.begin)
        before = await self.client.metrics()
        busy, begun = time.process_time(), time.perf_counter()
        until = begun + step.seconds if step.seconds else None
        course = _Course(step.concurrency, step.requests, until)
        await _run(self.client, step, todo, course, begun, self.watcher.progress)
        seconds, busy = time.perf_counter() - begun, time.process_time() - busy
        after = await self.client.metrics()
        cached = _grown(before, after, "prefix_cache_hits")
        computed = sum(each.prompt_tokens + each.output_tokens for each in course.done)
        hosts: tuple[HostFigures, ...] = ()
        if self.beside is not None:
            hosts = await asyncio.to_thread(self.beside.end, computed - (cached or 0))
        level = Level(
            name=step.name,
            value=step.value,
            concurrency=step.concurrency,
            seconds=round(seconds, 6),
            requests=tuple(sorted(course.done, key=lambda request: request.start)),
            unsent=(course.left or 0) if course.given_up else 0,
            cached_tokens=cached,
            looked_up=_grown(before, after, "prefix_cache_queries"),
            server_ttft=_mean(before, after, "ttft"),
            server_itl=_mean(before, after, "itl"),
            client_cpu=round(busy / seconds, 3) if seconds else None,
            hosts=hosts,
            summary=stats.summarise(course.done, seconds),
        )
        return level.model_copy(update={"notes": tuple(level_notes(level, step))})


async def _run(
    client: Client,
    step: Step,
    todo: Iterator[httpx.Request],
    course: _Course,
    begun: float,
    tell: Callable[[Step, int, int], None] | None = None,
) -> None:
    """Send the course's requests, `concurrency` at a time."""

    async def work() -> None:
        while course.next():
            course.add(await client.ask(next(todo), begun))
            if tell is not None:
                tell(step, len(course.done), course.failed)

    async with asyncio.TaskGroup() as group:
        for _ in range(course.concurrency):
            group.create_task(work())


def _grown(before: Metrics, after: Metrics, name: str) -> int | None:
    more = _more(before, after, name)
    return None if more is None else round(more)


def _mean(before: Metrics, after: Metrics, name: str) -> float | None:
    """The mean of what a histogram took up between two readings."""
    total, count = _more(before, after, f"{name}_sum"), _more(before, after, f"{name}_count")
    return round(total / count, 6) if total is not None and count else None


def _more(before: Metrics, after: Metrics, name: str) -> float | None:
    """How much a sum grew; None if it is not known, or if the server was restarted."""
    first: float | None = getattr(before, name)
    second: float | None = getattr(after, name)
    return None if first is None or second is None or second < first else second - first
