"""The hosts of a run: one connection and one thread each, and their newest readings."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_all
from typing import TypeVar

from spark_cluster.core.error import SparkError, StepFailed, Unreachable
from spark_cluster.core.event import HostConnected, HostLost, Listener
from spark_cluster.facts import probe
from spark_cluster.facts.base import Fact, Facts, ProbeContext
from spark_cluster.transport.protocol import Become, Completed, Connection, Connector, Target

T = TypeVar("T")

#: A probe reads files and asks docker; on a host under load that takes seconds, not minutes.
PROBE_SECONDS = 90.0


class Stop:
    """Ctrl-C, as the threads see it. Once: begin nothing new. Twice: end what runs."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.count = 0

    def request(self) -> None:
        self.count += 1
        self._event.set()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake at once when a stop is requested; then True."""
        return self._event.wait(seconds)


class HostSession:
    """One host: its connection is used by its own thread only."""

    def __init__(self, target: Target, context: ProbeContext) -> None:
        self.target = target
        self.context = context
        self.connection: Connection | None = None
        self.facts = Facts()
        self.first = Facts()
        self.lost: SparkError | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=target.name)

    @property
    def name(self) -> str:
        return self.target.name

    def submit(self, work: Callable[[], T]) -> Future[T]:
        return self._thread.submit(work)

    @property
    def open(self) -> Connection:
        if self.connection is None:
            raise self.lost or StepFailed(
                f"{self.name} is not connected", remedy="Run the command again.", host=self.name
            )
        return self.connection

    def run(
        self,
        script: str,
        *,
        timeout: float,
        root: bool = True,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        return self.open.run(script, root=root, timeout=timeout, on_line=on_line)

    def read(
        self, facts: Sequence[Fact[object]], prefix: str = "", *, timeout: float = PROBE_SECONDS
    ) -> Facts:
        """Read the facts in one exec, after `prefix` if given; remember and return them."""
        completed = self.run(prefix + probe.script(facts, self.context), timeout=timeout)
        return self.take(completed, facts, timeout)

    def take(
        self, completed: Completed, facts: Sequence[Fact[object]], timeout: float = PROBE_SECONDS
    ) -> Facts:
        """The facts in the output of a script that ended with a probe."""
        if completed.dropped or not probe.complete(completed.stdout, facts):
            why = (
                f"the probe did not finish within {timeout:.0f} s"
                if completed.timed_out
                else f"the probe ended with status {completed.status}"
            )
            if completed.dropped:
                why = "the probe printed more than may be sent, and its beginning is lost"
            raise StepFailed(
                why,
                host=self.name,
                stderr=tail(completed.stderr or completed.stdout),
                remedy="Run again with -v; if it hangs, look at the load of the host.",
            )
        fresh = probe.parse(completed.stdout, facts)
        self.facts = self.facts.updated(fresh)
        return fresh

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self._thread.shutdown(wait=False, cancel_futures=True)


class Session:
    """All hosts of a run."""

    def __init__(self, hosts: Sequence[HostSession], connector: Connector, become: Become) -> None:
        self.hosts = {host.name: host for host in hosts}
        self.connector = connector
        self.become = become
        self.stop = Stop()

    def connect(self, listener: Listener) -> None:
        """Connect to all at once. A host that fails is marked `lost` and told; none raises."""

        def one(host: HostSession) -> None:
            started = time.monotonic()
            host.connection = self.connector(host.target, self.become)
            seconds = time.monotonic() - started
            listener(HostConnected(host.name, host.target.address, seconds))

        for name, outcome in self.each(self.hosts, one).items():
            if isinstance(outcome, SparkError):
                self.hosts[name].lost = outcome
                listener(HostLost(name, outcome))

    @property
    def alive(self) -> list[str]:
        return [name for name, host in self.hosts.items() if host.lost is None]

    @property
    def lost(self) -> dict[str, SparkError]:
        return {name: host.lost for name, host in self.hosts.items() if host.lost is not None}

    def away(self) -> SparkError:
        """The one error for all hosts that are lost, of a run that changed nothing yet; the gravest
        speaks for itself if it is alone."""
        lost = self.lost
        if len(lost) == 1:
            return next(iter(lost.values()))
        return Unreachable(
            f"{len(lost)} hosts are away: {', '.join(lost)}; nothing was changed",
            remedy="; ".join(dict.fromkeys(error.remedy for error in lost.values())),
        )

    def all_facts(self) -> Mapping[str, Facts]:
        return {name: self.hosts[name].facts for name in self.alive}

    def each(
        self, names: Iterable[str], work: Callable[[HostSession], T]
    ) -> dict[str, T | SparkError]:
        """`work` on every named host in its own thread; a host's SparkError is its outcome.

        Waits in short turns, so that the main thread hears Ctrl-C. Any other exception is a fault
        of ours and is raised.
        """
        futures = {name: self._submit(name, work) for name in names}
        pending = set(futures.values())
        while pending:
            pending = wait_all(pending, timeout=0.2).not_done
        outcomes: dict[str, T | SparkError] = {}
        for name, future in futures.items():
            try:
                outcomes[name] = future.result()
            except SparkError as error:
                error.host = error.host or name
                outcomes[name] = error
        return outcomes

    def _submit(self, name: str, work: Callable[[HostSession], T]) -> Future[T]:
        host = self.hosts[name]
        return host.submit(lambda: work(host))

    def abort(self) -> None:
        """Stop the remote commands in flight."""
        for host in self.hosts.values():
            if host.connection is not None:
                with contextlib.suppress(SparkError):
                    host.connection.abort()

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()


def tail(text: str, lines: int = 8) -> str:
    """The last lines that say something."""
    return "\n".join([line for line in text.split("\n") if line.strip()][-lines:])
