"""The network guard: a netplan change that nobody confirms takes itself back.

On the host, in one script: snapshot; try the change in a copy with `netplan generate`; arm a
dead-man (`systemd-run --on-active`) that restores the snapshot; only then write and apply. The
controller then connects anew, checks, and disarms. It may die at any point: the host comes back by
itself.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spark_cluster.core.error import CheckFailed, SparkError, StateUnknown, StepFailed
from spark_cluster.core.event import Guarded, Listener
from spark_cluster.core.step import Change
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.runner import guard_scripts as scripts
from spark_cluster.runner.session import HostSession, Stop, tail


@dataclass
class Armed:
    """A host whose change is applied and not yet confirmed. `until` is monotonic time."""

    host: HostSession
    run: str
    until: float


class Guard:
    """Applies guarded changes. Each method runs in its host's own thread."""

    def __init__(
        self,
        run: str,
        seconds: int,
        listener: Listener,
        stop: Stop,
        on_reconnect: Callable[[HostSession], None],
    ) -> None:
        self.run = run
        self.seconds = seconds
        self._on_reconnect = on_reconnect
        self._listener = listener
        self._stop = stop

    def _say(self, host: HostSession, state: str, message: str) -> None:
        self._listener(Guarded(host.name, state, message))

    def apply(self, host: HostSession, changes: Sequence[Change]) -> Armed:
        """Arm and apply. A connection that dies here is expected; `confirm` connects anew."""
        armed = Armed(host, self.run, time.monotonic() + self.seconds)
        self._say(host, "arming", f"takes itself back after {self.seconds} s if not confirmed")
        try:
            done = host.run(scripts.arm(self.run, self.seconds, changes), timeout=self.seconds)
        except StateUnknown:
            self._say(
                host, "applied", "the connection broke while netplan applied; connecting anew"
            )
            return armed
        if done.status == scripts.REJECTED:
            self._say(host, "rejected", "netplan generate rejects it; nothing applied")
            raise CheckFailed(
                "netplan rejects the configuration; nothing was applied",
                host=host.name,
                code="NET005",
                stderr=tail(done.stderr + done.stdout),
                remedy="Mend the line that netplan names, then run again.",
            )
        if done.status == scripts.NOT_ARMED:
            self._say(host, "not armed", "the guard could not be armed; nothing applied")
            raise StepFailed(
                "the network guard could not be armed; nothing was applied",
                host=host.name,
                stderr=tail(done.stderr),
                remedy="Mend what the host says; `systemd-run --on-active=60 true` and writing to "
                "/var/lib/spark-cluster must work there.",
            )
        if done.ok:
            self._say(host, "applied", "netplan apply finished; connecting anew")
        else:
            self._say(host, "applied", f"netplan apply ended with status {done.status}")
        return armed

    def check(
        self, armed: Armed, facts: Sequence[Fact[object]], differences: Callable[[Facts], list[str]]
    ) -> None:
        """Over a new connection: read until `differences` is empty; then confirm, else revert.

        Raises CheckFailed (NET006) once the old configuration is back, StateUnknown if the host
        does not come back at all.
        """
        host = armed.host
        left = ["the host does not answer over a new connection"]
        while time.monotonic() < armed.until:
            try:
                host.open.reconnect()
                self._on_reconnect(host)
                left = self._settle(host, facts, differences)
                break
            except (SparkError, OSError) as error:
                left = [str(error)]
                if self._stop.wait(1.0):
                    break
        if not left:
            self._confirm(armed)
            return
        self._revert(armed, left)

    def _settle(
        self,
        host: HostSession,
        facts: Sequence[Fact[object]],
        differences: Callable[[Facts], list[str]],
    ) -> list[str]:
        """Read again while something differs; NetworkManager takes seconds after `apply`.

        Every reading is a sign of life, so that a slow host is not reverted under our hands.
        """
        until = time.monotonic() + self.seconds
        while True:
            host.read(facts, prefix=scripts.alive(self.run))
            left = differences(host.facts)
            if not left or time.monotonic() >= until or self._stop.wait(1.0):
                return left

    def _confirm(self, armed: Armed) -> None:
        host = armed.host
        done = host.run(scripts.confirm(armed.run), timeout=self.seconds)
        if not done.ok:
            self._await_return(armed)
            self._say(host, "reverted", "the dead-man was faster than the check")
            raise CheckFailed(
                "the guard reverted the change before it was confirmed",
                host=host.name,
                code="NET006",
                remedy="Run again with a longer limit: --set netplan.guard_seconds=300.",
            )
        self._say(host, "confirmed", "answers over a new connection; guard disarmed")

    def _revert(self, armed: Armed, left: list[str]) -> None:
        host = armed.host
        try:
            host.run(scripts.revert_now(self.run), timeout=self.seconds)
        except SparkError:
            self._say(host, "waiting", "not reachable; the dead-man on the host reverts by itself")
        self._await_return(armed)
        self._say(host, "reverted", "; ".join(left))
        raise CheckFailed(
            f"the network change was taken back: {'; '.join(left)}",
            host=host.name,
            code="NET006",
            remedy=f"`journalctl -t spark-cluster` on {host.name} tells the story. Correct the "
            "inventory or the cable, then look at `spark-cluster plan bootstrap`.",
        )

    def _await_return(self, armed: Armed) -> None:
        """Connect until the revert is seen done. Raises StateUnknown if it never is."""
        host = armed.host
        limit = max(armed.until, time.monotonic()) + 2 * self.seconds
        while time.monotonic() < limit:
            try:
                host.open.reconnect()
                done = host.run(scripts.reverted(self.run), timeout=15)
                if done.ok:
                    # So that the run's end frees the lock: the host may hold it for the connection
                    # that the change broke until TCP gives that one up.
                    with contextlib.suppress(SparkError):
                        self._on_reconnect(host)
                    return
            except (SparkError, OSError):
                pass
            self._stop.wait(1.0)
        raise StateUnknown(
            f"{host.name} did not come back within {2 * self.seconds} s after the guard's limit",
            host=host.name,
            remedy="Reach it by its console; `journalctl -t spark-cluster` there tells the story.",
        )
