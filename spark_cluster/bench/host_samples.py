"""The hosts beside a level: what their rails carried, and what their GPUs drew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from spark_cluster.bench.results import HostFigures, Rail
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.facts.gpu_state import GPU_STATE, GpuStateFact
from spark_cluster.facts.rdma import COUNTERS
from spark_cluster.rdma import deltas, evidence
from spark_cluster.rdma.evidence import Rank

T = TypeVar("T")

HostFacts = Mapping[str, Facts]

#: Reads facts of all hosts, one exec each; a host that does not answer is missing.
Read = Callable[[Sequence[Fact[object]]], HostFacts]

#: The first sample comes this many seconds after the begin: the load is then there.
_FIRST = 1.0


class Sampler:
    """Counters before and after a level, the GPUs' state every `interval` seconds during it.

    `begin` and `end` may block; `tokens` are those of prompts and answers, without those from a
    cache.
    """

    def __init__(self, read: Read, ranks: Sequence[Rank], interval: float) -> None:
        self._read = read
        self._ranks = ranks
        self._interval = interval
        self._before: HostFacts = {}
        self._samples: list[HostFacts] = []
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._before = self._read((COUNTERS,))
        self._samples = []
        self._over.clear()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def end(self, tokens: int) -> tuple[HostFigures, ...]:
        self.stop()
        return figures(self._ranks, self._before, self._read((COUNTERS,)), self._samples, tokens)

    def stop(self) -> None:
        """End the sampling; a second call does nothing."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _sample(self) -> None:
        pause = min(_FIRST, self._interval)
        while not self._over.wait(pause):
            self._samples.append(self._read((GPU_STATE,)))
            pause = self._interval


def figures(
    ranks: Sequence[Rank],
    before: HostFacts,
    after: HostFacts,
    samples: Sequence[HostFacts],
    tokens: int,
) -> tuple[HostFigures, ...]:
    """A row a rank, in the order of the ranks."""
    found = []
    for rank in ranks:
        first, second = (_of(rank, facts, COUNTERS) for facts in (before, after))
        delta = deltas.delta(first, second) if first is not None and second is not None else None
        states = [_of(rank, facts, GPU_STATE) or GpuStateFact() for facts in samples]
        found.append(
            HostFigures(
                host=rank.host,
                rank=rank.rank,
                rails=tuple(_rails(rank, delta, tokens)),
                watts=tuple(each.watts for each in states if each.watts is not None),
                sm_mhz=tuple(each.sm_mhz for each in states if each.sm_mhz is not None),
                problem="" if delta else "its counters could not be read before and after",
            )
        )
    return tuple(found)


def _of(rank: Rank, facts: HostFacts, fact: Fact[T]) -> T | None:
    return facts[rank.host].get(fact) if rank.host in facts else None


def _rails(rank: Rank, delta: deltas.CounterDelta | None, tokens: int) -> list[Rail]:
    """The recipe's rails, and every other device that carried something."""
    rows = [evidence.row(seen, tokens) for seen in evidence.see(rank, delta, tokens)]
    return [
        Rail(
            device=row.rail,
            tx=row.tx,
            rx=row.rx,
            unit=row.unit,
            tx_per_token=row.tx_per_token,
            rx_per_token=row.rx_per_token,
            errors=row.errors,
            note=row.note,
        )
        for row in rows
        if row.is_expected or row.tx or row.rx
    ]
