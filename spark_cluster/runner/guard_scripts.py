"""What the network guard runs on the host. Pure: the text of shell scripts.

The dead-man is a transient timer (`systemd-run --on-active`) and, because timers do not survive a
reboot, a unit for the next boot. When it fires it waits while the controller gives signs of
life (the file `alive`), then puts the snapshot back.
"""

from __future__ import annotations

from collections.abc import Sequence

from spark_cluster.core.step import Change
from spark_cluster.facts.guard import FOLDER

_UNITS = "/etc/systemd/system"

#: Statuses of the arming script, chosen outside the shell's own (sysexits.h begins at 64).
REJECTED, NOT_ARMED = 65, 66


def unit_name(run: str) -> str:
    return f"spark-cluster-guard-{run}"


def _revert_script(folder: str, run: str, seconds: int) -> str:
    """The snapshot as it was, files that we added removed, applied.

    Without argument it first waits until `alive` is `seconds` old; `now` does not wait; `boot` runs
    before the network comes up and only generates.
    """
    return f"""\
#!/bin/sh
# Written by spark-cluster: puts back the network configuration of before run {run}.
cd /etc/netplan || exit 1
if [ -z "${{1:-}}" ]; then
  # Uptime, not the clock: setting the clock must neither hold nor hasten a revert.
  while _then=$(cat {folder}/alive 2>/dev/null || echo 0)
    [ $(($(cut -d. -f1 /proc/uptime) - ${{_then:-0}})) -lt {seconds} ]; do sleep 2; done
fi
touch {folder}/reverting
for _f in * .[!.]*; do
  [ -e "$_f" ] || continue
  [ -e "{folder}/before/$_f" ] || rm -rf -- "$_f"
done
cp -a {folder}/before/. /etc/netplan/
if [ "${{1:-}}" = boot ]; then netplan generate; else netplan apply; fi
{_remove_boot_unit(run)}touch {folder}/reverted
logger -t spark-cluster "network guard {run}: reverted ${{1:-}}, nobody confirmed the change"
"""


def _boot_unit(run: str) -> str:
    return f"""\
[Unit]
Description=spark-cluster network guard {run}: nobody confirmed the change before the reboot
DefaultDependencies=no
RequiresMountsFor=/var/lib /etc
Before=network-pre.target systemd-networkd.service NetworkManager.service
Wants=network-pre.target

[Service]
Type=oneshot
ExecStart=/bin/sh {FOLDER}/{run}/revert.sh boot

[Install]
WantedBy=sysinit.target
"""


def _remove_boot_unit(run: str) -> str:
    name = f"{unit_name(run)}-boot.service"
    return f"rm -f {_UNITS}/{name} {_UNITS}/sysinit.target.wants/{name}\n"


def arm(run: str, seconds: int, changes: Sequence[Change]) -> str:
    """Snapshot, try in a copy, arm, write, apply.

    Statuses: REJECTED and NOT_ARMED mean that nothing was touched; anything else that the change
    is applied, in whole or in part.
    """
    folder = f"{FOLDER}/{run}"
    unit = unit_name(run)
    edits = "".join(change.commands for change in changes)
    return f"""\
set -eu
umask 077
_armed=
disarm() {{
  systemctl stop {unit}.timer 2>/dev/null || true
{_remove_boot_unit(run)}}}
ended() {{
  _rc=$?
  [ -z "$_armed" ] && [ $_rc -ne {REJECTED} ] || exit $_rc
  logger -t spark-cluster "network guard {run}: could not be armed, nothing applied"
  disarm
  exit {NOT_ARMED}
}}
trap ended EXIT
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
{_revert_script(folder, run, seconds)}SPARK_CLUSTER_REVERT
cat > {_UNITS}/{unit}-boot.service <<'SPARK_CLUSTER_UNIT'
{_boot_unit(run)}SPARK_CLUSTER_UNIT
mkdir -p {_UNITS}/sysinit.target.wants
ln -sf ../{unit}-boot.service {_UNITS}/sysinit.target.wants/{unit}-boot.service
{alive(run)}systemd-run --quiet --unit={unit} --on-active={seconds} \
  --timer-property=AccuracySec=1s /bin/sh {folder}/revert.sh
systemctl is-active --quiet {unit}.timer
sync
_armed=1
logger -t spark-cluster "network guard {run}: armed for {seconds} s"
(cd /etc/netplan && edit)
logger -t spark-cluster "network guard {run}: applying"
systemd-run --quiet --collect --wait --pipe --unit={unit}-apply netplan apply
logger -t spark-cluster "network guard {run}: applied"
"""


def alive(run: str) -> str:
    """A sign of life, put before every reading: the dead-man waits on."""
    file = f"{FOLDER}/{run}/alive"
    return f"cut -d. -f1 /proc/uptime > {file}.new && mv {file}.new {file}\n"


def confirm(run: str) -> str:
    """Disarm. Status 1 if the dead-man was faster.

    The files are on the disk before the unit for the next boot goes, and its removal is before we
    say so: a power cut a second later must not bring the old network back.
    """
    unit = unit_name(run)
    return f"""\
[ -e {FOLDER}/{run}/reverting ] && exit 1
sync /etc/netplan/* /etc/netplan
systemctl stop {unit}.timer {unit}.service 2>/dev/null
if [ -e {FOLDER}/{run}/reverting ]; then
  # It began between the two lines: stopped half-way it must be finished.
  systemd-run --quiet --collect --wait --unit={unit}-revert /bin/sh {FOLDER}/{run}/revert.sh now
  exit 1
fi
{_remove_boot_unit(run)}touch {FOLDER}/{run}/confirmed
sync {_UNITS} {_UNITS}/sysinit.target.wants {FOLDER}/{run}
logger -t spark-cluster "network guard {run}: confirmed"
"""


def revert_now(run: str) -> str:
    """Take the change back at once; under systemd, because it may cut this very connection."""
    unit = unit_name(run)
    return f"""\
[ -e {FOLDER}/{run}/reverting ] && exit 0
systemctl stop {unit}.timer {unit}.service 2>/dev/null
systemd-run --quiet --collect --wait --unit={unit}-revert /bin/sh {FOLDER}/{run}/revert.sh now
"""


def reverted(run: str) -> str:
    """Status 0 once the old configuration is back."""
    return f"[ -e {FOLDER}/{run}/reverted ]\n"
