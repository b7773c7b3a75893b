"""One run at a time per host: flock(1) held by a process that dies with our connection.

So there is no stale lock: when the controller is killed or the network goes, sshd ends the process
and the kernel lets go. The holder's line stands beside the lock for whoever finds it taken.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime

from spark_cluster.core.error import Locked, StepFailed
from spark_cluster.core.event import Listener, Note
from spark_cluster.core.shell import quote
from spark_cluster.facts.lock import LOCK, RUN_LOCK, TIME, Holder
from spark_cluster.runner.session import HostSession, Session
from spark_cluster.transport.protocol import Held

#: Verbs that teardown may interrupt: they only start containers, which it removes.
PREEMPTIBLE = ("launch", "verify-rdma")


def holder_here(verb: str) -> Holder:
    """This very process."""
    now = datetime.now(UTC).strftime(TIME)
    who = f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()}) since {now}"
    return Holder(verb, who)


def script(
    holder: Holder,
    *,
    preempt: tuple[str, ...] = (),
    again: bool = False,
    wait: int = 0,
    file: str = RUN_LOCK,
) -> str:
    """Take the lock `file`, waiting at most `wait` seconds, and hold it until standard input ends.

    `preempt`: verbs that it may be taken from; `again`: also from `holder` itself. First line:
    `taken`, `taken-from WHO` or `held WHO`.
    """
    patterns = "|".join(
        [*(f"{quote(verb)}\\ by\\ *" for verb in preempt), *([quote(str(holder))] if again else [])]
    )
    takes_over = f"""\
  case "$_who" in {patterns})
    _pid=$(cat {file}.pid)
    # The file may be left over: only a process that has the lock open holds it.
    if [ "$(readlink "/proc/$_pid/fd/9")" = {file} ]; then kill -TERM "$_pid"; fi
    flock -w 10 9 && _how="taken-from $_who" ;;
  esac
"""
    return f"""\
exec 9>>{file}
_how=taken
if ! flock -w {wait} 9; then
  _how=
  _who=$(cat {file}.holder 2>/dev/null)
{takes_over if patterns else ""}  [ -n "$_how" ] || {{ echo "held $_who"; exit 75; }}
fi
printf '%s\\n' {quote(str(holder))} > {file}.holder
echo $$ > {file}.pid
echo "$_how"
exec cat > /dev/null
"""


def take(
    host: HostSession,
    holder: Holder,
    *,
    preempt: tuple[str, ...] = (),
    again: bool = False,
    wait: int = 0,
    file: str = RUN_LOCK,
) -> tuple[Held, str | None]:
    """Take the lock `file` of one host; also who it was taken from, if anyone.

    Raises Locked naming the holder.
    """
    held = host.open.hold(script(holder, preempt=preempt, again=again, wait=wait, file=file))
    word, _, rest = held.first_line.partition(" ")
    if word == "taken":
        return held, None
    if word == "taken-from":
        return held, rest
    held.release()
    if word == "held":
        raise in_use(host.name, rest)
    raise StepFailed(
        f"the lock of {host.name} could not be taken: {held.first_line or 'no answer'}",
        host=host.name,
        remedy="Check that flock(1) is installed and /run is writable on the host.",
    )


def in_use(host: str, holder: str) -> Locked:
    """The error for a host that another run works on."""
    return Locked(
        f"{host} is in use: {holder or 'the holder left no name'}",
        host=host,
        remedy="Wait until that run has ended. It lets go by itself if its controller dies.",
    )


class Locks:
    """The locks of one run, one on each of its hosts."""

    def __init__(self, session: Session, verb: str, listener: Listener) -> None:
        self._session = session
        self._listener = listener
        self._holder = holder_here(verb)
        self._held: dict[str, Held] = {}

    def take(
        self, *, preempt: tuple[str, ...], needed: bool, lose: Callable[[str, object], None]
    ) -> None:
        """Take the lock of every host that is alive; `preempt`: verbs that it may be taken from.

        `needed`: without all of them none is kept, and the reason is raised; else it is told.
        `lose` is called with a host that died meanwhile, and its error.
        """

        def one(host: HostSession) -> None:
            self._held[host.name], previous = take(host, self._holder, preempt=preempt)
            if previous:
                self._listener(Note(f"took the lock over from {previous}", host.name))

        # In the inventory's order, one after the other: two runs cannot hold half the hosts each.
        for name in self._session.alive:
            outcome = self._session.each([name], one)[name]
            if not isinstance(outcome, Locked | StepFailed):
                lose(name, outcome)
            elif needed:
                self.release()
                raise outcome
            else:
                self._listener(Note(f"goes on without the lock: {outcome.message}", name))

    def release(self) -> None:
        """Give all of them back."""
        held, self._held = self._held, {}
        self._session.each(held, lambda host: held[host.name].release())

    def check(self, host: HostSession) -> None:
        """Raises Locked if the lock was lost: another run took it over, or its process was ended.

        Raises Unreachable or StateUnknown if it went with the connection.
        """
        held = self._held.get(host.name)
        if held is None or held.alive():
            return
        holder = host.read([LOCK])[LOCK].run
        another = holder and Holder.of(holder) != self._holder
        why = f"taken over by {holder}" if another else "the process that held it has ended"
        raise Locked(
            f"the lock of {host.name} was lost: {why}",
            host=host.name,
            remedy="`spark-cluster status` shows what runs now."
            if another
            else "Run the command again: it reads the state first.",
        )

    def take_again(self, host: HostSession) -> None:
        """Over a new connection, where the old one took the lock along, or keeps it because the
        host does not know yet that it is gone."""
        self._held[host.name], _ = take(host, self._holder, again=True, wait=5)
