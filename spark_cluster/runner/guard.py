"""The network guard: a netplan change that nobody confirms takes itself back.

On the host, in one script: snapshot; try the change in a copy with `netplan generate`; arm a
dead-man (`systemd-run --on-active`) that restores the snapshot; only then write and apply. The
controller then connects anew, checks, and disarms. It may die at any point: the host comes back by
itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spark_cluster.core.error import CheckFailed, SparkError, StateUnknown, StepFailed
from spark_cluster.core.event import Guarded, Listener
from spark_cluster.core.step import Change
from spark_cluster.facts.base import Fact, Facts
from spark_cluster.runner import guard_scripts as scripts
from spark_cluster.runner.session import Lane, Stop, tail


@dataclass
class Armed:
    """A host whose change is applied and not yet confirmed. `until` is monotonic time."""

    lane: Lane
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
        on_reconnect: Callable[[Lane], None],
    ) -> None:
        self.run = run
        self.seconds = seconds
        self._on_reconnect = on_reconnect
        self._listener = listener
        self._stop = stop

    def _say(self, lane: Lane, state: str, message: str) -> None:
        self._listener(Guarded(lane.name, state, message))

    def apply(self, lane: Lane, changes: Sequence[Change]) -> Armed:
        """Arm and apply. A connection that dies here is expected; `confirm` connects anew."""
        armed = Armed(lane, self.run, time.monotonic() + self.seconds)
        self._say(lane, "arming", f"takes itself back after {self.seconds} s if not confirmed")
        try:
            done = lane.run(scripts.arm(self.run, self.seconds, changes), timeout=self.seconds)
        except StateUnknown:
            self._say(
                lane, "applied", "the connection broke while netplan applied; connecting anew"
            )
            return armed
        if done.status == scripts.REJECTED:
            self._say(lane, "rejected", "netplan generate rejects it; nothing applied")
            raise CheckFailed(
                "netplan rejects the configuration; nothing was applied",
                host=lane.name,
                code="NET005",
                stderr=tail(done.stderr + done.stdout),
                remedy="Mend the line that netplan names, then run again.",
            )
        if done.status == scripts.NOT_ARMED:
            self._say(lane, "not armed", "the guard could not be armed; nothing applied")
            raise StepFailed(
                "the network guard could not be armed; nothing was applied",
                host=lane.name,
                stderr=tail(done.stderr),
                remedy="Mend what the host says; `systemd-run --on-active=60 true` and writing to "
                "/var/lib/spark-cluster must work there.",
            )
        if done.ok:
            self._say(lane, "applied", "netplan apply finished; connecting anew")
        else:
            self._say(lane, "applied", f"netplan apply ended with status {done.status}")
        return armed

    def check(
        self, armed: Armed, facts: Sequence[Fact[Any]], differences: Callable[[Facts], list[str]]
    ) -> None:
        """Over a new connection: read until `differences` is empty; then confirm, else revert.

        Raises CheckFailed (NET006) once the old configuration is back, StateUnknown if the host
        does not come back at all.
        """
        lane = armed.lane
        left = ["the host does not answer over a new connection"]
        while time.monotonic() < armed.until:
            try:
                lane.open.reconnect()
                self._on_reconnect(lane)
                left = self._settle(lane, facts, differences)
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
        self, lane: Lane, facts: Sequence[Fact[Any]], differences: Callable[[Facts], list[str]]
    ) -> list[str]:
        """Read again while something differs; NetworkManager takes seconds after `apply`.

        Every reading is a sign of life, so that a slow host is not reverted under our hands.
        """
        until = time.monotonic() + self.seconds
        while True:
            lane.read(facts, prefix=scripts.alive(self.run))
            left = differences(lane.facts)
            if not left or time.monotonic() >= until or self._stop.wait(1.0):
                return left

    def _confirm(self, armed: Armed) -> None:
        lane = armed.lane
        done = lane.run(scripts.confirm(armed.run), timeout=self.seconds)
        if not done.ok:
            self._await_return(armed)
            self._say(lane, "reverted", "the dead-man was faster than the check")
            raise CheckFailed(
                "the guard reverted the change before it was confirmed",
                host=lane.name,
                code="NET006",
                remedy="Run again with a longer limit: --set netplan.guard_seconds=300.",
            )
        self._say(lane, "confirmed", "answers over a new connection; guard disarmed")

    def _revert(self, armed: Armed, left: list[str]) -> None:
        lane = armed.lane
        try:
            lane.run(scripts.revert_now(self.run), timeout=self.seconds)
        except SparkError:
            self._say(lane, "waiting", "not reachable; the dead-man on the host reverts by itself")
        self._await_return(armed)
        self._say(lane, "reverted", "; ".join(left))
        raise CheckFailed(
            f"the network change was taken back: {'; '.join(left)}",
            host=lane.name,
            code="NET006",
            remedy=f"`journalctl -t spark-cluster` on {lane.name} tells the story. Correct the "
            "inventory or the cable, then look at `spark-cluster plan bootstrap`.",
        )

    def _await_return(self, armed: Armed) -> None:
        """Connect until the revert is seen done. Raises StateUnknown if it never is."""
        lane = armed.lane
        limit = max(armed.until, time.monotonic()) + 2 * self.seconds
        while time.monotonic() < limit:
            try:
                lane.open.reconnect()
                done = lane.run(scripts.reverted(self.run), timeout=15)
                if done.ok:
                    return
            except (SparkError, OSError):
                pass
            self._stop.wait(1.0)
        raise StateUnknown(
            f"{lane.name} did not come back within {2 * self.seconds} s after the guard's limit",
            host=lane.name,
            remedy="Reach it by its console; `journalctl -t spark-cluster` there tells the story.",
        )
