"""Carries one Exchange over one Wire: both streams drained, against a monotonic deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from spark_cluster.transport.exec import Exchange

#: Seconds between looks at what no file descriptor tells: exit status, a dead peer.
SLICE = 0.2
#: Seconds to wait for the streams' end after the exit status: a process left behind in the
#: background may keep them open for ever.
GRACE = 1.0


class Wire(Protocol):
    """A running remote shell: three streams and an exit status."""

    def wait(self, seconds: float) -> None:
        """Return when there is something to read, or after `seconds`."""

    def read_out(self) -> bytes:
        """Bytes of standard output that are there now; empty if there are none."""

    def read_err(self) -> bytes:
        """Bytes of standard error that are there now; empty if there are none."""

    def ended(self) -> bool:
        """Whether both streams came to their end."""

    def send(self, data: bytes, seconds: float) -> None:
        """Write to standard input within `seconds`; silently nothing if nobody reads it.

        Raises Lost when the time is over.
        """

    def end_input(self) -> None:
        """Close standard input."""

    def status(self) -> int | None:
        """The exit status, None if it has not come."""

    def alive(self) -> bool:
        """Whether a status can still come."""

    def close(self) -> None:
        """Let go of it; a second call does nothing."""


class Lost(Exception):
    """The other side is gone, or silent for too long; the message says which."""


def converse(wire: Wire, exchange: Exchange, seconds: float) -> int:
    """Run the exchange to its end and give the exit status.

    Raises Lost when the connection dies, or when `seconds` pass without an end.
    """
    deadline = time.monotonic() + seconds
    moved = time.monotonic()
    for came, alive, status in _rounds(wire, exchange, deadline):
        if came:
            moved = time.monotonic()
            if moved < deadline:
                continue
        if status is not None and (wire.ended() or time.monotonic() - moved > GRACE):
            return status
        if status is None and not alive:
            raise Lost("the connection was lost")
        if time.monotonic() >= deadline:
            raise Lost(f"no answer after {seconds:.0f} s")
    return 1


def first_line(wire: Wire, exchange: Exchange, seconds: float) -> str | None:
    """Wait for the first line of a script that goes on; None when it ended without one.

    Raises Lost when the connection dies, or when `seconds` pass without a line.
    """
    deadline = time.monotonic() + seconds
    for came, alive, status in _rounds(wire, exchange, deadline):
        line = exchange.first_line
        if line is not None and exchange.started:
            return line
        if came and time.monotonic() < deadline:
            continue
        if status is not None and wire.ended():
            return exchange.stdout.partition("\n")[0] or None
        if not alive:
            raise Lost("the connection was lost")
        if time.monotonic() >= deadline:
            raise Lost(f"no first line after {seconds:.0f} s")
    return None


def _rounds(
    wire: Wire, exchange: Exchange, deadline: float
) -> Iterator[tuple[bool, bool, int | None]]:
    """Send, wait and drain until a password is refused. Of each round whether something came; and
    from before it was drained whether a status could still come, and the status."""
    while not exchange.wrong_password:
        data, last = exchange.outgoing()
        if data:
            wire.send(data, max(0.1, deadline - time.monotonic()))
        if last:
            wire.end_input()
        wire.wait(max(0.0, min(SLICE, deadline - time.monotonic())))
        alive, status = wire.alive(), wire.status()
        yield _drain(wire, exchange), alive, status


def _drain(wire: Wire, exchange: Exchange) -> bool:
    out, err = wire.read_out(), wire.read_err()
    if out:
        exchange.feed_out(out)
    if err:
        exchange.feed_err(err)
    return bool(out or err)
