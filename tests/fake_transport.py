"""A host that plays a part: it answers scripts from a list and remembers what it was asked."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from spark_cluster.core.error import SparkError, Unreachable
from spark_cluster.transport.exec import first_line
from spark_cluster.transport.protocol import Become, Completed, Held, Target

#: A part of the script, a pattern to find in it, or a function of it.
Match = str | re.Pattern[str] | Callable[[str], bool]
#: A text is standard output with status 0. An exception is raised.
Answer = Completed | str | Exception | Callable[[str], "Completed | str"]


def failed(status: int = 1, stderr: str = "", stdout: str = "") -> Completed:
    """A script that ended badly."""
    return Completed(status, stdout, stderr)


@dataclass(frozen=True)
class Ran:
    """A script that the fake host was asked to run; `timeout` is in seconds, None if held."""

    script: str
    root: bool
    timeout: float | None


class FakeHost:
    """The host itself, which outlives its connections.

    A list of answers is given one after the other, the last for ever. The latest matching rule
    counts. Set `down` to an error to have connecting fail with it. `connections` and `execs`
    count; `ran`, `held` and `aborts` remember.
    """

    def __init__(
        self, name: str, responses: Iterable[tuple[Match, Answer | list[Answer]]] = ()
    ) -> None:
        self.name = name
        self.ran: list[Ran] = []
        self.held: list[FakeHeld] = []
        self.connections = 0
        self.aborts = 0
        self.down: SparkError | None = None
        self._rules: list[tuple[Match, list[Answer]]] = []
        self._lock = threading.Lock()
        for match, answer in responses:
            self.on(match, answer)

    @property
    def execs(self) -> int:
        return len(self.ran)

    @property
    def scripts(self) -> list[str]:
        return [ran.script for ran in self.ran]

    def on(self, match: Match, answer: Answer | list[Answer]) -> FakeHost:
        """Add a rule; gives the host itself."""
        answers = list(answer) if isinstance(answer, list) else [answer]
        self._rules.append((match, answers))
        return self

    def answer(self, ran: Ran) -> Completed:
        """Play one script. Raises what the rule says, AssertionError when there is none."""
        with self._lock:
            self.ran.append(ran)
            answer = self._pick(ran.script)
        if callable(answer):
            answer = answer(ran.script)
        if isinstance(answer, Exception):
            raise answer
        return Completed(0, answer, "") if isinstance(answer, str) else answer

    def _pick(self, script: str) -> Answer:
        for match, answers in reversed(self._rules):
            if _fits(match, script):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        raise AssertionError(f"{self.name} has no answer to: {first_line(script)}\n{script}")


def _fits(match: Match, script: str) -> bool:
    if isinstance(match, str):
        return match in script
    if isinstance(match, re.Pattern):
        return match.search(script) is not None
    return match(script)


class FakeHeld:
    """A held script of a fake host; `kill()` ends it from the host's side."""

    def __init__(self, script: str, done: Completed) -> None:
        self.script = script
        self.released = False
        self._line = done.stdout.partition("\n")[0]
        self._status = done.status
        self._alive = done.ok

    @property
    def first_line(self) -> str:
        return self._line

    def alive(self) -> bool:
        return self._alive

    def kill(self) -> None:
        self._alive = False

    def release(self) -> int | None:
        self.released, self._alive = True, False
        return self._status


class FakeConnection:
    """One connection to a fake host."""

    def __init__(self, host: FakeHost, target: Target, become: Become) -> None:
        self.target = target
        self.become = become
        self.closed = True
        self._host = host
        self._mine: list[FakeHeld] = []
        self.reconnect()

    @property
    def host(self) -> str:
        return self._host.name

    def run(
        self,
        script: str,
        *,
        root: bool = True,
        timeout: float = 60.0,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        self._check()
        done = self._host.answer(Ran(script, root, timeout))
        for line in done.stdout.removesuffix("\n").split("\n") if on_line and done.stdout else ():
            assert on_line is not None
            on_line(line)
        return done

    def hold(self, script: str, *, root: bool = True) -> Held:
        """The rule's output is the first line; a status other than 0 is a script that ended."""
        self._check()
        held = FakeHeld(script, self._host.answer(Ran(script, root, None)))
        self._mine.append(held)
        self._host.held.append(held)
        return held

    def abort(self) -> None:
        self._host.aborts += 1

    def reconnect(self) -> None:
        self.close()
        if self._host.down is not None:
            raise self._host.down
        self._host.connections += 1
        self.closed = False

    def close(self) -> None:
        self.closed = True
        for held in self._mine:
            held.kill()
        self._mine.clear()

    def _check(self) -> None:
        if self.closed:
            raise Unreachable(
                f"{self.host}: the connection is closed", remedy="connect again", host=self.host
            )


class FakeConnector:
    """Connects to fake hosts by the name of the target; an unknown one is unreachable."""

    def __init__(self, hosts: Iterable[FakeHost]) -> None:
        self.hosts = {host.name: host for host in hosts}

    def __call__(self, target: Target, become: Become) -> FakeConnection:
        host = self.hosts.get(target.name)
        if host is None:
            raise Unreachable(
                f"{target.name} ({target.address}): no such host",
                remedy="add it to the fake connector",
                host=target.name,
            )
        return FakeConnection(host, target, become)
