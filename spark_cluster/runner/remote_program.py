"""What the verbs share that are no playbook: locks, hosts that are lost, programs on the nodes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.error import Interrupted, SparkError, StateUnknown, StepFailed, Unreachable
from spark_cluster.core.event import HostLost, Listener, Note
from spark_cluster.facts.lock import RUN_LOCK
from spark_cluster.facts.probe import PRELUDE
from spark_cluster.runner.lock import holder_here, take
from spark_cluster.runner.session import HostSession, Session
from spark_cluster.transfer import scripts
from spark_cluster.transfer.failures import failure
from spark_cluster.transfer.payload import Order
from spark_cluster.transport.protocol import Held

T = TypeVar("T")

#: Seconds between two looks at a program: quick at first, then sparing with the host.
_FIRST, _LAST = 0.3, 3.0


def lose(session: Session, listener: Listener, outcomes: Mapping[str, object]) -> None:
    """Take the hosts out whose connection is gone, and tell it once."""
    for name, outcome in outcomes.items():
        if isinstance(outcome, StateUnknown | Unreachable) and name in session.alive:
            session.hosts[name].lost = outcome
            listener(HostLost(name, outcome))


@dataclass
class Hosts:
    """The hosts of a session, for a verb that is no playbook."""

    session: Session
    listener: Listener

    def on(self, name: str, work: Callable[[HostSession], T]) -> T | SparkError:
        """`work` in the host's own thread; a connection that is gone takes the host out."""
        return self.each([name], work)[name]

    def each(
        self, names: Iterable[str], work: Callable[[HostSession], T]
    ) -> dict[str, T | SparkError]:
        """The same on several hosts at once."""
        outcomes = self.session.each(names, work)
        lose(self.session, self.listener, outcomes)
        return outcomes

    @contextlib.contextmanager
    def holding(self, name: str, script: str) -> Iterator[Held | SparkError]:
        """A script that runs on the host as long as the context lasts, or why it does not."""
        held = self.on(name, lambda host: host.open.hold(script))
        try:
            yield held
        finally:
            if not isinstance(held, SparkError):
                self.on(name, lambda _: held.release())

    @contextlib.contextmanager
    def locked(self, names: Sequence[str], verb: str, *, file: str = RUN_LOCK) -> Iterator[None]:
        """Hold the hosts' lock `file`, taken in this order, so that two runs cannot have half each.

        Raises Locked. A host that is lost meanwhile is told and left out.
        """
        held: dict[str, Held] = {}
        holder = holder_here(verb)
        try:
            for name in names:
                outcome = self.on(name, lambda host: take(host, holder, file=file)[0])
                if not isinstance(outcome, SparkError):
                    held[name] = outcome
                elif name in self.session.alive:
                    raise outcome
            yield
        finally:
            self.session.each(held, lambda host: held[host.name].release())


# Programs on the nodes (transfer/node)


@contextlib.contextmanager
def program(host: HostSession, order: Order) -> Iterator[scripts.Started]:
    """A program that runs as long as the context lasts; call it in the host's own thread.

    Raises StepFailed when it does not start.
    """
    script = PRELUDE + scripts.held(*order)
    held = host.open.hold(script)
    try:
        started = scripts.started(held.first_line)
        if started is None:
            raise _unstarted(host, held.first_line.removeprefix("failed").strip())
        if "failed" in started.said:
            raise failure(started.said, host.name, order[1])
        yield started
    finally:
        held.release()


def _unstarted(host: HostSession, why: str) -> SparkError:
    if why == "no-python":
        why, code = "python3 is not installed", "HOST001"
    else:
        why, code = f"the program did not start: {why or 'it ended without a word'}", "HOST003"
    return diagnosed(code, why, host.name)


def diagnosed(code: str, message: str, host: str | None = None) -> StepFailed:
    """The error with a diagnosis' code and remedy."""
    return StepFailed(message, host=host, code=code, remedy=DIAGNOSES[code].fix)


def look(host: HostSession, started: scripts.Started) -> scripts.Look:
    """What the program has said last."""
    return scripts.look(host.run(scripts.look_script(started), timeout=30).stdout)


def follow(
    host: HostSession,
    order: Order,
    listener: Listener,
    tell: Callable[[Mapping[str, Any], float], None],
    stop: Callable[[float], bool],
) -> Mapping[str, Any]:
    """Run a program to its end; what it says is `done`.

    `tell` gets what it said last and the seconds since the beginning; `stop` waits that many
    seconds and says whether to give up. Raises the program's error, StepFailed, Interrupted.
    """
    begun, pause = time.monotonic(), _FIRST
    noted: set[str] = set()
    with program(host, order) as started:
        while True:
            seen = look(host, started)
            for note in seen.notes:
                if note not in noted:
                    listener(Note(note, host.name))
            noted.update(seen.notes)
            if "done" in seen.said:
                done: Mapping[str, Any] = seen.said["done"]
                return done
            if "failed" in seen.said:
                error = failure(seen.said, host.name, order[1])
                error.stderr = seen.errors or "\n".join(seen.notes) or None
                raise error
            if not seen.alive:
                raise StepFailed(
                    f"{order[1]} ended without a result",
                    host=host.name,
                    stderr=seen.errors or None,
                    remedy="Run the command again: it goes on from where it was.",
                )
            tell(seen.said, time.monotonic() - begun)
            if stop(pause):
                raise Interrupted(
                    f"{order[1]} was stopped",
                    host=host.name,
                    remedy="Run the command again: it goes on from there.",
                )
            pause = min(_LAST, pause * 1.3)
