"""The engine's loop: continuous batching, one token per running request and step."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from .metrics import Metrics
from .words import words

WEDGE = "/tmp/spark-lab-wedge"


class EngineDead(Exception):
    """A rank is gone or the network failed: the engine cannot go on."""


class Executor(Protocol):
    """Runs one step of the model on all ranks."""

    def step(self, tokens: int) -> None:
        """Return when all ranks have moved their bytes; EngineDead otherwise."""


class Event:
    """A token for the one who waits for it; with `reason` set it is the last."""

    __slots__ = ("error", "index", "reason", "text")

    def __init__(
        self, text: str, reason: str | None = None, error: str = "", index: int = 0
    ) -> None:
        self.index = index
        self.text = text
        self.reason = reason
        self.error = error


class Generation:
    """One request in the engine."""

    def __init__(
        self,
        prompt: str,
        prompt_tokens: int,
        max_tokens: int,
        *,
        min_tokens: int = 0,
        ignore_eos: bool = False,
        priority: int = 0,
        stop: Sequence[str] = (),
        index: int = 0,
        events: queue.SimpleQueue[Event] | None = None,
    ) -> None:
        self.index = index
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.min_tokens = min_tokens
        self.ignore_eos = ignore_eos
        self.priority = priority
        self.stop = tuple(stop)
        self.arrival = time.monotonic()
        self.started = 0.0
        self.first = 0.0
        self.last = 0.0
        self.generated = 0
        self.cancelled = False
        self.text = ""
        self.events: queue.SimpleQueue[Event] = events or queue.SimpleQueue()
        self._words = words(prompt)

    def next_token(self) -> Event:
        """The next word, and whether the answer ends here."""
        self.generated += 1
        word, natural_end = next(self._words)
        self.text += word
        reason = None
        if self.generated >= self.min_tokens and any(mark in self.text for mark in self.stop):
            word, reason = "", "stop"
        elif self.generated >= self.max_tokens:
            reason = "length"
        elif natural_end and not self.ignore_eos and self.generated >= self.min_tokens:
            reason = "stop"
        return Event(word, reason, index=self.index)


class Engine(threading.Thread):
    """Takes requests, runs steps while there are any, and does nothing otherwise."""

    def __init__(
        self,
        executor: Executor,
        metrics: Metrics,
        *,
        max_seqs: int,
        kv_tokens: int,
        by_priority: bool,
        on_death: Callable[[str], None],
    ) -> None:
        super().__init__(daemon=True)
        self._executor = executor
        self._metrics = metrics
        self._max_seqs = max_seqs
        self._kv_tokens = max(1, kv_tokens)
        self._by_priority = by_priority
        self._on_death = on_death
        self._prefill_cap = int(os.environ.get("SPARK_LAB_PREFILL_TOKENS") or 16)
        self._wedge = os.environ.get("SPARK_LAB_WEDGE_FILE") or WEDGE
        self._wake = threading.Condition()
        self._waiting: list[Generation] = []
        self._running: list[Generation] = []
        self.dead = ""

    def submit(self, sequence: Generation) -> None:
        """Queue a request."""
        with self._wake:
            if self.dead:
                raise EngineDead(self.dead)
            self._waiting.append(sequence)
            self._gauges()
            self._wake.notify()

    def run(self) -> None:
        """Until the ranks die."""
        while True:
            with self._wake:
                while not self._waiting and not self._running:
                    self._wake.wait()
                fresh = self._admit()
                batch = list(self._running)
            # The fault: a GPU that spins for ever. The API knows nothing of it.
            while os.path.exists(self._wedge):  # noqa: PTH110 - pathlib is slow to import
                time.sleep(0.2)
            tokens = sum(
                min(item.prompt_tokens, self._prefill_cap) if item in fresh else 1 for item in batch
            )
            if not batch:
                continue
            try:
                self._executor.step(tokens)
            except EngineDead as error:
                self.fail(str(error))
                return
            self._emit(batch, fresh)

    def _admit(self) -> list[Generation]:
        self._waiting = [item for item in self._waiting if not item.cancelled]
        for item in [item for item in self._running if item.cancelled]:
            self._running.remove(item)
            self._metrics.success("abort")
        if self._by_priority:
            self._waiting.sort(key=lambda item: (item.priority, item.arrival))
        room = self._max_seqs - len(self._running)
        fresh, self._waiting = self._waiting[:room], self._waiting[room:]
        self._running += fresh
        now = time.monotonic()
        for item in fresh:
            item.started = now
            self._metrics.observe("request_queue_time_seconds", now - item.arrival)
            self._metrics.count("prefix_cache_queries", item.prompt_tokens)
        self._gauges()
        return fresh

    def _gauges(self) -> None:
        self._metrics.gauge("num_requests_running", len(self._running))
        self._metrics.gauge("num_requests_waiting", len(self._waiting))
        used = sum(item.prompt_tokens + item.generated for item in self._running)
        self._metrics.gauge("kv_cache_usage_perc", min(1.0, used / self._kv_tokens))

    def _emit(self, batch: list[Generation], fresh: list[Generation]) -> None:
        now = time.monotonic()
        prefill = sum(item.prompt_tokens for item in fresh)
        self._metrics.observe("iteration_tokens_total", prefill + len(batch) - len(fresh))
        ended = []
        for item in batch:
            event = item.next_token()
            self._metrics.count("generation_tokens")
            if item.generated == 1:
                item.first = now
                self._metrics.count("prompt_tokens", item.prompt_tokens)
                self._metrics.observe("time_to_first_token_seconds", now - item.arrival)
                self._metrics.observe("request_prefill_time_seconds", now - item.started)
            else:
                self._metrics.observe("inter_token_latency_seconds", now - item.last)
                self._metrics.observe("time_per_output_token_seconds", now - item.last)
            if event.reason:
                ended.append(item)
                self._account(item, event.reason, now)
            item.last = now
            item.events.put(event)
        if ended:
            with self._wake:
                self._running = [item for item in self._running if item not in ended]
                self._gauges()

    def _account(self, item: Generation, reason: str, now: float) -> None:
        observe = self._metrics.observe
        self._metrics.success(reason)
        observe("request_prompt_tokens", item.prompt_tokens)
        observe("request_generation_tokens", item.generated)
        observe("request_params_max_tokens", item.max_tokens)
        observe("e2e_request_latency_seconds", now - item.arrival)
        observe("request_inference_time_seconds", now - item.started)
        observe("request_decode_time_seconds", now - item.first)

    def fail(self, reason: str) -> None:
        """The executor has lost a rank: whoever waits is told, and nobody is taken any more."""
        with self._wake:
            if self.dead:
                return
            self.dead = reason
            lost = self._running + self._waiting
            self._running, self._waiting = [], []
        for item in lost:
            item.events.put(Event("", "error", reason, item.index))
        self._on_death(reason)
