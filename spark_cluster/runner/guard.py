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
from spark_cluster.runner.session import Lane, Stop, tail

_FOLDER = "/var/lib/spark-cluster/guard"

#: Statuses of the arming script, chosen outside the shell's own (sysexits.h begins at 64).
REJECTED, NOT_ARMED = 65, 66


def _revert_script(folder: str, run: str) -> str:
    """What the dead-man runs: the snapshot as it was, files that we added removed, applied."""
    return f"""\
#!/bin/sh
# Written by spark-cluster: puts back the network configuration of before run {run}.
cd /etc/netplan || exit 1
touch {folder}/reverting
for _f in * .[!.]*; do
  [ -e "$_f" ] || continue
  [ -e "{folder}/before/$_f" ] || rm -rf -- "$_f"
done
cp -a {folder}/before/. /etc/netplan/
netplan apply
touch {folder}/reverted
logger -t spark-cluster "network guard {run}: reverted, nobody confirmed the change"
"""


def arm_script(run: str, seconds: int, changes: Sequence[Change]) -> str:
    """Snapshot, try, arm, write, apply. Statuses: 0, REJECTED, NOT_ARMED, or netplan's."""
    folder = f"{_FOLDER}/{run}"
    unit = unit_name(run)
    edits = "".join(change.commands for change in changes)
    return f"""\
set -eu
umask 077
mkdir -p {folder}/before {folder}/try/etc
cp -a /etc/netplan/. {folder}/before/
ip addr show > {folder}/addresses
cp -a /etc/netplan {folder}/try/etc/
edit() {{
:
{edits}}}
(cd {folder}/try/etc/netplan && edit)
if ! netplan generate --root-dir {folder}/try; then
  logger -t spark-cluster "network guard {run}: rejected by netplan generate, nothing applied"
  exit {REJECTED}
fi
rm -rf {folder}/try
cat > {folder}/revert.sh <<'SPARK_CLUSTER_REVERT'
{_revert_script(folder, run)}SPARK_CLUSTER_REVERT
if ! systemd-run --quiet --unit={unit} --on-active={seconds} \
    --timer-property=AccuracySec=1s /bin/sh {folder}/revert.sh; then
  logger -t spark-cluster "network guard {run}: the timer could not be armed, nothing applied"
  exit {NOT_ARMED}
fi
systemctl is-active --quiet {unit}.timer || exit {NOT_ARMED}
logger -t spark-cluster "network guard {run}: armed for {seconds} s"
(cd /etc/netplan && edit)
logger -t spark-cluster "network guard {run}: applying"
systemd-run --quiet --collect --wait --pipe --unit={unit}-apply netplan apply
logger -t spark-cluster "network guard {run}: applied"
"""


def confirm_script(run: str) -> str:
    """Disarm. Status 1 if the dead-man was faster."""
    return f"""\
systemctl stop {unit_name(run)}.timer 2>/dev/null
if [ -e {_FOLDER}/{run}/reverting ]; then exit 1; fi
touch {_FOLDER}/{run}/confirmed
logger -t spark-cluster "network guard {run}: confirmed"
"""


def revert_now_script(run: str) -> str:
    """Take the change back at once; under systemd, because it may cut this very connection."""
    unit = unit_name(run)
    return f"""\
systemctl stop {unit}.timer 2>/dev/null
[ -e {_FOLDER}/{run}/reverting ] && exit 0
systemd-run --quiet --collect --wait --unit={unit}-revert /bin/sh {_FOLDER}/{run}/revert.sh
"""


def unit_name(run: str) -> str:
    return f"spark-cluster-guard-{run}"


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
            done = lane.run(arm_script(self.run, self.seconds, changes), timeout=self.seconds)
        except StateUnknown:
            self._say(
                lane, "applied", "the connection broke while netplan applied; connecting anew"
            )
            return armed
        if done.status == REJECTED:
            self._say(lane, "rejected", "netplan generate rejects it; nothing applied")
            raise CheckFailed(
                "netplan rejects the configuration; nothing was applied",
                host=lane.name,
                code="NET005",
                stderr=tail(done.stderr + done.stdout),
                remedy="Mend the line that netplan names, then run again.",
            )
        if done.status == NOT_ARMED:
            self._say(lane, "not armed", "the guard's timer could not be armed; nothing applied")
            raise StepFailed(
                "the guard's timer could not be armed; nothing was applied",
                host=lane.name,
                stderr=tail(done.stderr),
                remedy="Check `systemd-run --on-active=60 true` on the host.",
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
        margin = min(20.0, self.seconds / 4)
        left = ["the host does not answer over a new connection"]
        while time.monotonic() < armed.until - margin:
            try:
                lane.open.reconnect()
                self._on_reconnect(lane)
                left = self._settle(armed, facts, differences, armed.until - margin)
                break
            except (SparkError, OSError) as error:
                left = [str(error)]
                if self._stop.wait(1.0):
                    break
        if not left:
            self._confirm(lane)
            return
        self._revert(armed, left)

    def _settle(
        self,
        armed: Armed,
        facts: Sequence[Fact[Any]],
        differences: Callable[[Facts], list[str]],
        until: float,
    ) -> list[str]:
        """Read again while something differs; NetworkManager takes seconds after `apply`."""
        while True:
            armed.lane.read(facts)
            left = differences(armed.lane.facts)
            if not left or time.monotonic() >= until or self._stop.wait(1.0):
                return left

    def _confirm(self, lane: Lane) -> None:
        done = lane.run(confirm_script(self.run), timeout=30)
        if not done.ok:
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
            lane.run(revert_now_script(self.run), timeout=self.seconds)
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
        """Connect until the revert is seen done. Raises StateUnknown after twice the limit."""
        lane = armed.lane
        limit = armed.until + self.seconds
        while time.monotonic() < limit:
            try:
                lane.open.reconnect()
                done = lane.run(f"[ -e {_FOLDER}/{self.run}/reverted ]", timeout=15)
                if done.ok:
                    return
            except (SparkError, OSError):
                pass
            self._stop.wait(1.0)
        raise StateUnknown(
            f"{lane.name} did not come back within {2 * self.seconds} s of the network change",
            host=lane.name,
            remedy="Reach it by its console; `journalctl -t spark-cluster` there tells the story.",
        )
