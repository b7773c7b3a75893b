"""Who acts in a test of an action: fake hosts, and a list that hears the events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from spark_cluster.actions.operator import Operator
from spark_cluster.core.event import Event
from tests.fake_transport import FakeConnector, FakeHost

E = TypeVar("E", bound=Event)


class Heard(list[Event]):
    """The events of an action, in order."""

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self if isinstance(event, kind)]


#: Makes an operator over these hosts, and what it hears.
Operators = Callable[[Sequence[FakeHost]], tuple[Operator, Heard]]


def operators(home: Path, monkeypatch: pytest.MonkeyPatch) -> Operators:
    """Operators with this home folder and none of the user's variables."""
    for name in ("SPARK_CLUSTER_INVENTORY", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))

    def over(hosts: Sequence[FakeHost]) -> tuple[Operator, Heard]:
        heard = Heard()
        return Operator(heard.append, connect=FakeConnector(hosts)), heard

    return over


def silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """A fixture's body: an action writes nothing on any stream."""
    yield
    assert capfd.readouterr() == ("", "")
