"""What every connection does alike, over SSH or here: run, hold, abort, and become root."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from spark_cluster.core import framing
from spark_cluster.core.error import AuthFailed, SparkError, StateUnknown, Unreachable
from spark_cluster.core.secret import Secret
from spark_cluster.transport import exec as wrapping
from spark_cluster.transport import pump
from spark_cluster.transport.exec import Exchange, Way
from spark_cluster.transport.protocol import Become, Completed, Held, Target
from spark_cluster.transport.pump import Lost, Wire

#: Seconds that the controller waits longer than the host's own time limit.
SLACK = 15.0
#: Seconds for a held script to print its first line.
FIRST_LINE = 60.0
#: Seconds that `release` waits for the script's end.
LET_GO = 5.0

T = TypeVar("T")

_asking = threading.Lock()


def password_of(become: Become, host: str) -> Secret:
    """The password for sudo, asked for at most once whichever thread comes first.

    Raises AuthFailed when there is nobody to ask.
    """
    with _asking:
        if become.password is None:
            ask, become.ask = become.ask, None
            if ask is None:
                raise AuthFailed(
                    f"sudo on {host} wants a password and there is no terminal to ask on",
                    remedy="run this in a terminal, add a NOPASSWD rule for this user to "
                    f"{host}'s sudoers (visudo -f /etc/sudoers.d/spark-cluster), "
                    "or connect as root",
                    host=host,
                )
            become.password = ask()
        if become.password not in become.secrets:
            become.secrets.append(become.password)
        return become.password


class Shell:
    """A Connection; a subclass says how a shell is started and how connecting again works."""

    def __init__(self, target: Target, become: Become) -> None:
        self.target = target
        self.execs = 0
        self._become = become
        self._root_way = Way.ROOT
        self._lock = threading.Lock()
        self._running: Exchange | None = None

    @property
    def host(self) -> str:
        return self.target.name

    def _start(self, command: str) -> Wire:
        """Start `command` in the host's login shell. Raises Unreachable: nothing has run."""
        raise NotImplementedError

    def _silence(self) -> str:
        """Why the connection was lost, if more is known than that it was."""
        return ""

    def reconnect(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def run(
        self,
        script: str,
        *,
        root: bool = True,
        timeout: float = 60.0,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run `script`; see Connection.run. A script stopped by `abort` ends with 143 or 137."""
        begun = time.monotonic()
        return self._as_whom(root, lambda way: self._run(script, way, timeout, on_line, begun))

    def hold(self, script: str, *, root: bool = True) -> Held:
        """Start `script` and leave it running; see Connection.hold.

        Raises StateUnknown when it prints no line within FIRST_LINE seconds. What it prints
        after that is not read: it should print next to nothing.
        """
        return self._as_whom(root, lambda way: self._hold(script, way))

    def abort(self) -> None:
        with self._lock:
            exchange = self._running
        if exchange is None or not exchange.announced.wait(LET_GO) or exchange.pid is None:
            return
        script, begun = wrapping.stop_script(exchange.pid), time.monotonic()
        self._run(script, exchange.way, 3 * LET_GO, None, begun, note=False)

    def _as_whom(self, root: bool, act: Callable[[Way], T | None]) -> T:
        """Act as the user, or as root by the way that this host wants, found out once."""
        if root:
            done = act(self._root_way)
            if done is not None:
                return done
            self._root_way = Way.ROOT_WITH_PASSWORD
        done = act(self._root_way if root else Way.USER)
        assert done is not None
        return done

    def _run(
        self,
        script: str,
        way: Way,
        timeout: float,
        on_line: Callable[[str], None] | None,
        begun: float,
        note: bool = True,
    ) -> Completed | None:
        """One exec; None when sudo wants a password that it was not given."""
        wire, exchange = self._open(script, way, timeout, on_line)
        with self._noted(exchange, note), self._watched(script, exchange, wire):
            seconds = timeout + wrapping.KILL_AFTER + SLACK
            status = pump.converse(wire, exchange, seconds)
            exchange.finish()
        if not exchange.started and self._wants_password(exchange, status):
            return None
        seconds = time.monotonic() - begun
        return Completed(status, exchange.stdout, exchange.stderr, seconds, exchange.dropped)

    def _hold(self, script: str, way: Way) -> Held | None:
        wire, exchange = self._open(script, way, None, None)
        kept = False
        try:
            with self._watched(script, exchange):
                line = pump.first_line(wire, exchange, FIRST_LINE)
            if not exchange.started and self._wants_password(exchange, wire.status()):
                return None
            kept = True
            return HeldShell(wire, line or "")
        finally:
            if not kept:
                wire.close()

    def _open(
        self,
        script: str,
        way: Way,
        timeout: float | None,
        on_line: Callable[[str], None] | None,
    ) -> tuple[Wire, Exchange]:
        password = None
        if way is Way.ROOT_WITH_PASSWORD:
            password = password_of(self._become, self.host)
        token = f"spark-{secrets.token_hex(8)}"
        mark = framing.new_mark()
        held = timeout is None
        exchange = Exchange(
            way,
            token,
            wrapping.payload(script, token, self.target.environment, held=held, mark=mark),
            held=held,
            mark=mark,
            password=password,
            secrets=self._become.secrets,
            on_line=on_line,
        )
        wire = self._start(wrapping.command_line(way, token, timeout))
        self.execs += 1
        return wire, exchange

    @contextmanager
    def _noted(self, exchange: Exchange, note: bool) -> Iterator[None]:
        if note:
            with self._lock:
                self._running = exchange
        try:
            yield
        finally:
            exchange.announced.set()
            if note:
                with self._lock:
                    self._running = None

    @contextmanager
    def _watched(self, script: str, exchange: Exchange, wire: Wire | None = None) -> Iterator[None]:
        """Turn Lost into StateUnknown, and close the wire in any case."""
        try:
            yield
        except Lost as lost:
            why = self._silence() or str(lost)
            raise StateUnknown(
                f"{self.host}: {why} while a command ran; whether it finished is not known",
                remedy="run the command again: it reads the state first",
                host=self.host,
                command=wrapping.first_line(script, self._become.secrets),
                stderr=wrapping.last_lines(exchange.stderr) or None,
            ) from None
        finally:
            if wire is not None:
                wire.close()

    def _wants_password(self, exchange: Exchange, status: int | None) -> bool:
        """Whether to try again with a password, for a shell that did not start.

        Raises AuthFailed when sudo refused, Unreachable when the login shell did not do as told.
        """
        if exchange.wrong_password:
            raise self._refused("the password is wrong", "check the password and run it again")
        refusal = exchange.refusal()
        if refusal is not None and refusal.wants_password:
            return True
        if refusal is not None:
            remedy = f"let this user use sudo on {self.host}, or connect as root"
            raise self._refused(refusal.reason, remedy)
        if status in (124, 137, 143):
            return False
        raise Unreachable(
            f"{self.host}: the login shell ended with status {status} and ran nothing",
            remedy=f"try `ssh {self.target.address} 'timeout 5 sh -c id'`: this user needs a "
            "login shell that runs commands, and coreutils",
            host=self.host,
            stderr=wrapping.last_lines(exchange.stderr) or None,
        )

    def _refused(self, reason: str, remedy: str) -> SparkError:
        return AuthFailed(f"sudo on {self.host} refused: {reason}", remedy=remedy, host=self.host)


class HeldShell:
    """A held script: the Held of Shell.hold."""

    def __init__(self, wire: Wire, line: str) -> None:
        self._wire = wire
        self._line = line

    @property
    def first_line(self) -> str:
        return self._line

    def alive(self) -> bool:
        return self._wire.status() is None and self._wire.alive()

    def release(self) -> int | None:
        """End its standard input and wait up to LET_GO seconds; a second call does nothing."""
        self._wire.end_input()
        deadline = time.monotonic() + LET_GO
        while self.alive() and time.monotonic() < deadline:
            self._wire.wait(pump.SLICE)
            self._wire.read_out()
            self._wire.read_err()
        status = self._wire.status()
        self._wire.close()
        return status
