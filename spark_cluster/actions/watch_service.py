"""The watcher as a systemd service on this machine: of root's for root, else of the user's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spark_cluster.actions.watch import WatchRequest
from spark_cluster.core.error import InputError, StepFailed
from spark_cluster.core.event import Event
from spark_cluster.watch.detector import DEFAULT

NAME = "spark-cluster-watch.service"

#: Seconds that the unit must run after its start: what it is told wrong it says within two.
_STEADY = 8.0


@dataclass(frozen=True)
class Installed(Event):
    """A unit that runs. `journal` is the command that reads what it says; `of_user`: it is the
    user's, not root's."""

    kind: str = field(default="watch_installed", init=False)
    path: Path
    journal: str
    of_user: bool


@dataclass(frozen=True)
class Uninstalled(Event):
    """A unit that is not there any more; `was_there`: until now."""

    kind: str = field(default="watch_uninstalled", init=False)
    path: Path
    was_there: bool


def options(request: WatchRequest, inventory: Path, hosts: Sequence[str] = ()) -> list[str]:
    """The options of `watch` that ask for this; no `hosts` are all of the inventory."""
    words = ["--interval", f"{request.interval:g}s", "--listen", str(request.listen)]
    words += ["--inventory", str(inventory)]
    wedge = request.thresholds.wedge
    words += ["--wedge-after", f"{wedge:g}s"] if wedge != DEFAULT.wedge else []
    words += ["--on-wedge", request.command] if request.command else []
    words += ["--restart", "--cap", str(request.cap)] if request.cap else []
    words += ["--hosts", ",".join(hosts)] if hosts else []
    return words


def unit(words: Sequence[str], *, user: bool) -> str:
    """The unit that runs `watch` with these options. Its end leaves alone what the watcher has
    begun: a relaunch that is killed in its middle leaves nothing that serves."""
    command = " ".join(
        _word(word) for word in (sys.executable, "-m", "spark_cluster", "watch", *words)
    )
    return f"""\
# Written by `spark-cluster watch --install`; `spark-cluster watch --uninstall` removes it.
[Unit]
Description=spark-cluster: watch
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={command}
Restart=on-failure
RestartSec=30
RestartPreventExitStatus=2 4 130
KillSignal=SIGINT
KillMode=process

[Install]
WantedBy={"default.target" if user else "multi-user.target"}
"""


def _word(text: str) -> str:
    """A word of ExecStart (systemd.service(5)): in quotes, `%` and `$` doubled."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _place() -> tuple[Path, list[str]]:
    """The unit's path, and systemctl for it."""
    if os.geteuid() == 0:
        return Path("/etc/systemd/system") / NAME, ["systemctl"]
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "systemd/user" / NAME, ["systemctl", "--user"]


def install(request: WatchRequest, inventory: Path, hosts: Sequence[str] = ()) -> Installed:
    """Write, enable and start it. Raises InputError without systemd, StepFailed if systemd refuses
    or the watcher does not go on running."""
    path, systemctl = _place()
    of_user = "--user" in systemctl
    _run([*systemctl, "--version"])
    path.parent.mkdir(parents=True, exist_ok=True)
    text = unit(options(request, inventory, hosts), user=of_user)
    path.write_text(text, encoding="utf-8")
    _run([*systemctl, "daemon-reload"])
    _run([*systemctl, "enable", NAME])
    _run([*systemctl, "restart", NAME])
    journal = f"journalctl {'--user ' if of_user else ''}"
    _await_running(systemctl, f"{journal}-n 20 -u {NAME}")
    return Installed(path, f"{journal}-fu {NAME}", of_user)


def _await_running(systemctl: list[str], journal: str) -> None:
    """Raises StepFailed as soon as the unit does not run, within `_STEADY` seconds."""
    until = time.monotonic() + _STEADY
    while time.monotonic() < until:
        state = _state(systemctl)
        if state != "active":
            raise StepFailed(
                f"{NAME} is enabled, and its watcher has ended: {state or 'state unknown'}",
                remedy=f"`{journal}` shows why; mend that, then run `watch --install` again, or "
                "`watch --uninstall`.",
            )
        time.sleep(0.5)


def _state(systemctl: list[str]) -> str:
    """`active`, `activating` (it waits for its next try), `failed`, …"""
    words = [*systemctl, "is-active", NAME]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def uninstall() -> Uninstalled:
    """Stop it and remove the unit. Raises StepFailed if systemd refuses."""
    path, systemctl = _place()
    if not path.exists():
        return Uninstalled(path, was_there=False)
    _run([*systemctl, "disable", "--now", NAME])
    path.unlink()
    _run([*systemctl, "daemon-reload"])
    return Uninstalled(path, was_there=True)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(
            f"{command[0]}: {error.strerror}",
            remedy="Without systemd, run `spark-cluster watch` under a supervisor of yours.",
        ) from error
    if done.returncode:
        raise StepFailed(
            f"{' '.join(command)} failed with status {done.returncode}",
            stderr=done.stderr.strip(),
            remedy="Read what systemctl said; then run it again.",
        )
