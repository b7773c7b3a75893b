"""Read the same facts again and again, one exec a host and interval, also while hosts die and come
back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from spark_cluster.core.error import SparkError
from spark_cluster.core.event import HostLost, Listener, Note
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.runner.session import Lane, Session

#: A reading that takes longer counts as a host that does not answer: the others go on.
READ_SECONDS = 20.0

HostFacts = Mapping[str, Facts]


@dataclass(frozen=True)
class Turn:
    """An interval. A host that was not read at its begin or end is missing in `before` or `after`;
    `known` is what was last read of each. `seconds` by the controller's clock."""

    before: HostFacts
    after: HostFacts
    known: HostFacts
    seconds: float


class Watch:
    """`moving` facts are read every interval. `standing` facts are read at the start, when a host
    comes back, and when `epoch` of the newest readings changes."""

    def __init__(
        self,
        session: Session,
        moving: Sequence[Fact[Any]],
        standing: Sequence[Fact[Any]],
        *,
        interval: float,
        listener: Listener,
        epoch: Callable[[HostFacts], object] = lambda _: None,
    ) -> None:
        self._session = session
        self._moving = tuple(moving)
        self._all = (*moving, *standing)
        self._interval = interval
        self._listener = listener
        self._epoch = epoch
        self._returning: dict[str, Future[None]] = {}

    def turns(self) -> Iterator[Turn]:
        """One turn an interval, until the session is told to stop."""
        self._read(self._all)
        before, begun = self._now(), time.monotonic()
        epoch = self._epoch(before)
        facts = self._moving
        while not self._session.stop.wait(self._interval):
            self._welcome()
            self._read(facts)
            after, ended = self._now(), time.monotonic()
            yield Turn(before, after, self._known(), ended - begun)
            previous, epoch = epoch, self._epoch(after)
            facts = self._moving if epoch == previous else self._all
            before, begun = after, ended

    def _now(self) -> HostFacts:
        return dict(self._session.all_facts())

    def _known(self) -> HostFacts:
        lanes = self._session.lanes.values()
        return {lane.name: lane.facts for lane in lanes if lane.facts.names}

    def _read(self, facts: Sequence[Fact[Any]]) -> None:
        def read(lane: Lane) -> None:
            lane.read(facts, timeout=READ_SECONDS)

        outcomes = self._session.each(self._session.alive, read)
        for name, outcome in outcomes.items():
            if isinstance(outcome, SparkError):
                self._session.lanes[name].lost = outcome
                self._listener(HostLost(name, outcome))

    def _welcome(self) -> None:
        """Take back the hosts that answer again; keep knocking at the others, each in its own
        thread, so that nobody waits for them."""
        for name in self._session.lost:
            lane = self._session.lanes[name]
            knocking = self._returning.get(name)
            if knocking is not None and not knocking.done():
                continue
            if knocking is not None and knocking.exception() is None:
                del self._returning[name]
                lane.lost = None
                self._listener(Note("answers again", name))
            else:
                self._returning[name] = lane.submit(partial(self._knock, lane))

    def _knock(self, lane: Lane) -> None:
        if lane.connection is None:
            lane.connection = self._session.connector(lane.target, self._session.become)
        else:
            lane.connection.reconnect()
        lane.read(self._all, timeout=READ_SECONDS)
