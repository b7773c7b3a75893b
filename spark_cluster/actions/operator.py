"""Who acts: where events are told, how hosts are reached, and who is asked for a password."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from spark_cluster.core.event import Event, Listener
from spark_cluster.core.secret import Secret
from spark_cluster.transport.protocol import Become, Connection, Connector, Target


def connector() -> Connector:
    """SSH, or this very machine for a host whose address is `local`."""
    from spark_cluster.transport import local, ssh

    def connect(target: Target, become: Become) -> Connection:
        if target.address == "local":
            return local.connect(target, become)
        return ssh.connect(target, become)

    return connect


def unheard(_: Event) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Operator:
    """The caller of an action.

    listener   hears every event as it happens, from any thread, one at a time
    ask        gives the sudo password, once for all hosts, when one of them wants it; None: nobody
               is there, and such a host is an error
    connect    how a host is reached; None: by SSH
    """

    listener: Listener = unheard
    ask: Callable[[], Secret] | None = None
    connect: Connector | None = None

    def become(self) -> Become:
        """A password of its own for a session."""
        return Become(ask=self.ask)

    def reach(self) -> Connector:
        return self.connect or connector()
