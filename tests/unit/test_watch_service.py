"""The watcher as a systemd service, with a fake systemctl."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster.actions import watch_service
from spark_cluster.actions.watch import Address, WatchRequest
from spark_cluster.actions.watch_service import Installed, Uninstalled, options
from spark_cluster.core.error import InputError, StepFailed
from spark_cluster.watch.detector import Thresholds
from tests.command_line import Cli

from .world import INVENTORY

WHERE = Path("/etc/spark.yaml")


class Systemctl:
    """A program that writes down what it is asked, and answers as it is told."""

    def __init__(self, folder: Path) -> None:
        self.unit = folder / "units" / watch_service.NAME
        self.path = folder / "systemctl"
        self._asked = folder / "asked"
        self.answers("exit 0")

    def answers(self, script: str) -> None:
        """`$*` is what it is asked. `is-active` is active."""
        active = 'case "$*" in *is-active*) echo active;; esac'
        self.path.write_text(f'#!/bin/sh\necho "$*" >>{self._asked}\n{active}\n{script}\n')
        self.path.chmod(0o755)

    def asked(self) -> list[str]:
        """What it was asked since the last call, but for whether the unit runs."""
        asked = self._asked.read_text().splitlines()
        self._asked.unlink()
        return [line for line in asked if "is-active" not in line]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    """That of a user."""
    made = Systemctl(tmp_path)
    monkeypatch.setattr(watch_service, "_place", lambda: (made.unit, [str(made.path), "--user"]))
    monkeypatch.setattr(watch_service, "_STEADY", 0.01)
    return made


def test_a_unit_is_installed_and_removed(
    systemctl: Systemctl, capfd: pytest.CaptureFixture[str]
) -> None:
    unit = watch_service.NAME
    done = watch_service.install(WatchRequest(cap=2), WHERE)
    assert done == Installed(systemctl.unit, f"journalctl --user -fu {unit}", of_user=True)
    assert systemctl.asked() == [
        "--user --version", "--user daemon-reload", f"--user enable {unit}",
        f"--user restart {unit}",
    ]  # fmt: skip
    words = " ".join(f'"{word}"' for word in options(WatchRequest(cap=2), WHERE))
    assert f'"watch" {words}\n' in systemctl.unit.read_text()
    assert watch_service.uninstall() == Uninstalled(systemctl.unit, was_there=True)
    assert systemctl.asked() == [f"--user disable --now {unit}", "--user daemon-reload"]
    assert watch_service.uninstall() == Uninstalled(systemctl.unit, was_there=False)
    assert capfd.readouterr() == ("", "")


def test_what_systemd_refuses(systemctl: Systemctl) -> None:
    systemctl.answers('case "$*" in *enable*) echo "Access denied" >&2; exit 4;; esac')
    with pytest.raises(StepFailed, match=r"enable .* failed with status 4") as refused:
        watch_service.install(WatchRequest(), WHERE)
    assert refused.value.stderr == "Access denied"


def test_without_systemd_nothing_is_written(systemctl: Systemctl) -> None:
    systemctl.path.unlink()
    with pytest.raises(InputError, match="No such file"):
        watch_service.install(WatchRequest(), WHERE)
    assert not systemctl.unit.exists()


@pytest.mark.parametrize(
    ("request_", "hosts", "words"),
    [
        (WatchRequest(), [], ""),
        (WatchRequest(cap=3), ["a", "b"], " --restart --cap 3 --hosts a,b"),
        (WatchRequest(thresholds=Thresholds(wedge=600)), [], " --wedge-after 600s"),
        (WatchRequest(command="page me"), [], " --on-wedge page me"),
    ],
)
def test_the_options_that_ask_for_the_same(
    request_: WatchRequest, hosts: list[str], words: str
) -> None:
    always = f"--interval 15s --listen 127.0.0.1:9470 --inventory {WHERE}"
    assert " ".join(options(request_, WHERE, hosts)) == always + words


def test_an_ipv6_address_is_an_option_in_brackets() -> None:
    asked = WatchRequest(interval=2.5, listen=Address("::", 9471))
    assert options(asked, WHERE)[:4] == ["--interval", "2.5s", "--listen", "[::]:9471"]


def test_the_unit() -> None:
    text = watch_service.unit(["--on-wedge", 'echo "100%" $HOME'], user=True)
    assert "KillMode=process" in text  # what it began goes on
    assert '"-m" "spark_cluster" "watch" "--on-wedge" "echo \\"100%%\\" $$HOME"' in text
    assert "WantedBy=default.target" in text
    assert "WantedBy=multi-user.target" in watch_service.unit([], user=False)


def test_install_and_uninstall(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "units" / watch_service.NAME
    ran: list[list[str]] = []
    monkeypatch.setattr(watch_service, "_place", lambda: (path, ["systemctl"]))
    monkeypatch.setattr(watch_service, "_run", ran.append)
    monkeypatch.setattr(watch_service, "_state", lambda _: "active")
    monkeypatch.setattr(watch_service, "_STEADY", 0.01)
    said = cli("watch", "--install", "--restart", "--interval", "20", "-i", INVENTORY)
    assert said.code == 0
    text = path.read_text()
    assert '"--interval" "20s"' in text
    assert f'"--inventory" "{INVENTORY}"' in text
    assert '"--restart" "--cap" "3"' in text
    assert [words[1] for words in ran] == ["--version", "daemon-reload", "enable", "restart"]
    assert cli("watch", "--uninstall").code == 0
    assert not path.exists()
    assert "nothing to remove" in cli("watch", "--uninstall").out


@pytest.mark.parametrize(
    ("systemctl", "states", "says"),
    [
        (["systemctl", "--user"], ["failed"], "`journalctl --user -n 20 -u spark-cluster-watch"),
        (["systemctl"], ["active", "activating"], "`journalctl -n 20 -u spark-cluster-watch"),
    ],
)
def test_an_installed_watcher_that_ends_at_once_is_told(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    systemctl: list[str],
    states: list[str],
    says: str,
) -> None:
    left = list(states)
    monkeypatch.setattr(watch_service, "_place", lambda: (tmp_path / "unit", systemctl))
    monkeypatch.setattr(watch_service, "_run", lambda _: None)
    monkeypatch.setattr(watch_service, "_state", lambda _: left.pop(0))
    said = cli("watch", "--install", "-i", INVENTORY)
    assert said.code == 1
    assert "started" not in said.out
    assert f"its watcher has ended: {states[-1]}" in said.err
    assert says in said.err


def test_as_json(cli: Cli, systemctl: Systemctl) -> None:
    for words, kind in (
        (["--install", "-i", INVENTORY], "watch_installed"),
        (["--uninstall"], "watch_uninstalled"),
    ):
        (line,) = cli("watch", *words, "--json").lines
        assert (line["kind"], line["path"]) == (kind, str(systemctl.unit))
