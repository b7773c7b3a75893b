"""A `systemctl` for a node without systemd: it starts what a unit's ExecStart says, as its User.

It knows the verbs that our scripts use; everything else is an error. Pids are kept in $UNITS.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ.get("UNITS", "."))
FOLDER = Path("/etc/systemd/system")


def setting(unit: str, key: str) -> str:
    lines = (FOLDER / unit).read_text().splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith(f"{key}=")), "")


def pid_of(unit: str) -> int | None:
    path = STATE / f"{unit}.pid"
    if not path.exists():
        return None
    pid = int(path.read_text())
    stat = Path(f"/proc/{pid}/stat")
    return pid if stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z" else None


def stop(unit: str) -> None:
    pid = pid_of(unit)
    if pid is not None:
        os.killpg(pid, signal.SIGTERM)  # all of the unit, as systemd ends a control group
        while pid_of(unit) is not None:
            time.sleep(0.05)
    (STATE / f"{unit}.pid").unlink(missing_ok=True)


def start(unit: str) -> None:
    user = pwd.getpwnam(setting(unit, "User") or "root")
    with (STATE / f"{unit}.log").open("ab") as log:
        process = subprocess.Popen(
            shlex.split(setting(unit, "ExecStart")),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            user=user.pw_uid, group=user.pw_gid, extra_groups=[],
        )  # fmt: skip
    (STATE / f"{unit}.pid").write_text(str(process.pid))


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="systemctl")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("daemon-reload")
    show = verbs.add_parser("show")
    show.add_argument("-p", action="append", dest="properties", default=[])
    show.add_argument("unit")
    for verb in ("is-active", "enable", "disable", "restart", "stop", "kill", "reset-failed"):
        sub = verbs.add_parser(verb)
        sub.add_argument("--quiet", action="store_true")
        sub.add_argument("--now", action="store_true")
        sub.add_argument("--signal")
        sub.add_argument("unit")
    given = parser.parse_args(words)
    STATE.mkdir(parents=True, exist_ok=True)
    if given.verb == "is-active":
        if pid_of(given.unit):
            print("active")
            return 0
        # A unit of ours that ended is started again: Restart=always.
        print("activating" if (STATE / f"{given.unit}.pid").exists() else "inactive")
        return 3
    link = FOLDER / "multi-user.target.wants" / getattr(given, "unit", "")
    if given.verb == "show":
        known = {
            "UnitFileState": "enabled" if link.is_symlink() else "disabled",
            "ActiveState": "active" if pid_of(given.unit) else "inactive",
        }
        print("\n".join(f"{name}={known[name]}" for name in given.properties))
    elif given.verb == "enable":
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(FOLDER / given.unit)
    elif given.verb == "disable":
        link.unlink(missing_ok=True)
    if given.verb == "restart":
        stop(given.unit)
        start(given.unit)
    elif given.verb in ("stop", "kill") or (given.verb == "disable" and given.now):
        stop(given.unit)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
