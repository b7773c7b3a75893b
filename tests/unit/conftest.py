"""Markers and fixtures of the unit tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from tests.command_line import Cli, command_line
from tests.operators import Operators, operators

from . import switched
from .cases import write
from .watchers import Stand, warmed


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "index: needs the Python package index")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting steps read again at once."""
    monkeypatch.setattr("spark_cluster.runner.waiting._pause", lambda _: 0.0)


@pytest.fixture(autouse=True)
def no_lab_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab that somebody has running is not these tests' business."""
    monkeypatch.delenv("SPARK_CLUSTER_LAB", raising=False)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in an empty folder with an empty home; `hosts` answer."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return command_line(tmp_path / "home", monkeypatch, capsys)


@pytest.fixture
def switch(tmp_path: Path) -> Inventory:
    """Three Sparks on one switch; the pair serves."""
    return inventories.load(write(tmp_path / "switch.yaml", switched.SWITCH))


@pytest.fixture
def over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operators:
    """Operators of actions, with a home folder of the test's own."""
    return operators(tmp_path, monkeypatch)


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's state is in a folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def warm(own_state: None) -> Iterator[Callable[..., Stand]]:
    """Makes watchers of an engine that has worked for an hour."""
    with warmed() as make:
        yield make
