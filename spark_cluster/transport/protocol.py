"""What the runner needs of a connection, and nothing more.

A connection belongs to one thread. Every script is POSIX sh, handed over on standard input, so that
it never shows in a process list; it runs under `timeout -k` on the host, so that one that
takes too long is really dead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from spark_cluster.core.secret import Secret

#: What `timeout` returns for a command that it had to end (coreutils, timeout(1)).
TIMED_OUT = 124


@dataclass(frozen=True)
class Completed:
    """A script that ran to its end.

    `status` is its exit status (124: ended by its time limit), `stdout` and `stderr` are decoded
    with replacement, secrets already redacted. A line of `stdout` that the script marked as its own
    begins with `@@`, and no other does (core/framing.py). `seconds` is the wall time on the
    controller; `dropped` are bytes at the beginning of `stdout` that were too many to keep.
    """

    status: int
    stdout: str
    stderr: str
    seconds: float = 0.0
    dropped: int = 0

    @property
    def ok(self) -> bool:
        return self.status == 0

    @property
    def timed_out(self) -> bool:
        return self.status in (TIMED_OUT, 137)


class Held(Protocol):
    """A script that runs until it is let go: a lock, for one."""

    @property
    def first_line(self) -> str:
        """The first line that it printed, without its newline; empty if it ended before."""

    def alive(self) -> bool:
        """Whether it still runs; False also when the connection is gone."""

    def release(self) -> int | None:
        """Close its standard input, wait briefly, and give its exit status if it came."""


class Connection(Protocol):
    """One authenticated way into one host."""

    @property
    def host(self) -> str:
        """The host's name in the inventory."""

    def run(
        self,
        script: str,
        *,
        root: bool = True,
        timeout: float = 60.0,
        on_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run `script` and wait for it, at most `timeout` seconds of its own time.

        `root` runs it through sudo (`sudo -n`, else with the password of `Become`). `on_line`
        sees each line of standard output as it arrives.

        Raises AuthFailed when sudo refuses, StateUnknown when the connection dies after the
        script was sent. A non-zero status is not an error: the caller reads it.
        """

    def hold(self, script: str, *, root: bool = True) -> Held:
        """Start `script`, wait for its first line, and leave it running.

        The script must end when its standard input ends: then a dead controller lets go by itself.
        """

    def abort(self) -> None:
        """Called from another thread: stop the remote command in flight (TERM, then KILL)."""

    def reconnect(self) -> None:
        """Close and connect again: a new TCP connection, a new authentication.

        Raises Unreachable, HostKeyRejected or AuthFailed.
        """

    def close(self) -> None:
        """Close; a second call does nothing."""


@dataclass
class Become:
    """How to become root, for all hosts of a run: the password is asked for once.

    `ask` is called at most once, from whichever host's thread first needs it; None means that
    there is no terminal to ask on. `secrets` is what redaction must know.
    """

    ask: Callable[[], Secret] | None = None
    password: Secret | None = None
    secrets: list[Secret] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """Where a host is, as the inventory says it; ssh_config may say more.

    `address` is a name of ssh_config, a DNS name or an IP address. Paths are absolute.
    """

    name: str
    address: str
    user: str | None = None
    port: int | None = None
    identity: str | None = None
    ssh_config: str | None = None
    known_hosts: str | None = None
    connect_timeout: float = 10.0
    environment: Mapping[str, str] = field(default_factory=dict)


class Connector(Protocol):
    """Makes connections: the runner's only door to the network, and the tests' way in."""

    def __call__(self, target: Target, become: Become) -> Connection:
        """Connect. Raises Unreachable, HostKeyRejected or AuthFailed."""
