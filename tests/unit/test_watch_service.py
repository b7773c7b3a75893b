"""The watcher as a systemd service, with a fake systemctl."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster.actions import watch_service
from tests.command_line import Cli

from .world import INVENTORY


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
