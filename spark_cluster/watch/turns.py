"""Read the same facts again and again, one exec a host and interval, also while hosts are late, die
and come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_all
from dataclasses import dataclass
from functools import partial

from spark_cluster.core.error import SparkError
from spark_cluster.core.event import HostLost, Listener, Note
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.runner.session import PROBE_SECONDS, HostSession, Session

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
    comes back, and when `epoch` of the newest readings changes.

    A turn waits `patience` seconds for a host (three intervals, at least 15 s); after that the host
    is missing in it, and its reading, once it is there, counts for a later turn. Nobody waits for a
    host that is late already.
    """

    def __init__(
        self,
        session: Session,
        moving: Sequence[Fact[object]],
        standing: Sequence[Fact[object]],
        *,
        interval: float,
        patience: float | None = None,
        listener: Listener,
        epoch: Callable[[HostFacts], object] = lambda _: None,
    ) -> None:
        self._session = session
        self._moving = tuple(moving)
        self._all = (*moving, *standing)
        self._interval = interval
        self._patience = max(15.0, 3 * interval) if patience is None else patience
        self._listener = listener
        self._epoch = epoch
        self._late: dict[str, Future[Facts]] = {}
        self._returning: dict[str, Future[None]] = {}

    def turns(self) -> Iterator[Turn]:
        """One turn an interval, until the session is told to stop."""
        before, begun = self._read(self._all, PROBE_SECONDS), time.monotonic()
        epoch = self._epoch(before)
        facts = self._moving
        while not self._session.stop.wait(self._interval):
            self._welcome()
            after, ended = self._read(facts, self._patience), time.monotonic()
            yield Turn(before, after, self._known(), ended - begun)
            previous, epoch = epoch, self._epoch(after)
            facts = self._moving if epoch == previous else self._all
            before, begun = after, ended

    def _known(self) -> HostFacts:
        hosts = self._session.hosts.values()
        return {host.name: host.facts for host in hosts if host.facts.names}

    def _read(self, facts: Sequence[Fact[object]], patience: float) -> HostFacts:
        """The hosts that were read in time, or whose late reading has come."""
        fresh = {
            name: self._session.hosts[name].submit(
                partial(_everything, self._session.hosts[name], facts)
            )
            for name in self._session.alive
            if name not in self._late
        }
        deadline = time.monotonic() + patience
        pending = set(fresh.values())
        while pending and time.monotonic() < deadline:
            pending = wait_all(pending, timeout=0.2).not_done  # short, so that Ctrl-C is heard
        self._late |= fresh
        read: dict[str, Facts] = {}
        for name in [name for name, reading in self._late.items() if reading.done()]:
            try:
                read[name] = self._late.pop(name).result()
            except SparkError as error:
                self._session.hosts[name].lost = error
                self._listener(HostLost(name, error))
        return read

    def _welcome(self) -> None:
        """Take back the hosts that answer again; keep knocking at the others, each in its own
        thread, so that nobody waits for them."""
        for name in self._session.lost:
            host = self._session.hosts[name]
            knocking = self._returning.get(name)
            if knocking is not None and not knocking.done():
                continue
            if knocking is not None and knocking.exception() is None:
                del self._returning[name]
                host.lost = None
                self._listener(Note("answers again", name))
            else:
                self._returning[name] = host.submit(partial(self._knock, host))

    def _knock(self, host: HostSession) -> None:
        if host.connection is None:
            host.connection = self._session.connector(host.target, self._session.become)
        else:
            host.connection.reconnect()
        host.read(self._all)


def _everything(host: HostSession, facts: Sequence[Fact[object]]) -> Facts:
    """All that is known of the host after a reading."""
    host.read(facts)
    return host.facts
