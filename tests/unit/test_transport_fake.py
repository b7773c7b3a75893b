"""The host that plays a part."""

from __future__ import annotations

import re

import pytest

from spark_cluster.core.error import StateUnknown, Unreachable
from spark_cluster.transport.protocol import Become, Completed, Connection, Connector, Target
from tests.fake_transport import FakeConnector, FakeHost, failed


def connected(host: FakeHost) -> Connection:
    connector: Connector = FakeConnector([host])
    return connector(Target(host.name, "10.0.0.1"), Become())


def test_answers_and_memory() -> None:
    host = FakeHost("spark-1", [("uname", "Linux\n"), (re.compile(r"^cat /etc/"), "text")])
    host.on(lambda script: script.endswith("!"), lambda script: Completed(0, script.upper(), ""))
    host.on("boom", StateUnknown("gone", remedy="again"))
    connection = connected(host)
    lines: list[str] = []
    assert connection.run("uname -r", on_line=lines.append).stdout == "Linux\n"
    assert lines == ["Linux"]
    assert connection.run("cat /etc/x", root=False, timeout=5).stdout == "text"
    assert connection.run("hey!").stdout == "HEY!"
    with pytest.raises(StateUnknown):
        connection.run("boom")
    with pytest.raises(AssertionError, match="no answer to: rm -rf"):
        connection.run("rm -rf /")
    assert (host.connections, host.execs) == (1, 5)
    assert (host.ran[1].script, host.ran[1].root, host.ran[1].timeout) == ("cat /etc/x", False, 5)


def test_answers_in_turn_and_later_rules_first() -> None:
    host = FakeHost("spark-1", [("probe", ["before", "after"])])
    connection = connected(host)
    assert [connection.run("probe").stdout for _ in range(3)] == ["before", "after", "after"]
    host.on("probe", failed(2, "no"))
    assert connection.run("probe") == Completed(2, "", "no")


def test_hold() -> None:
    host = FakeHost("spark-1", [("flock", "locked\n")])
    connection = connected(host)
    held = connection.hold("flock")
    assert (held.first_line, held.alive()) == ("locked", True)
    assert held.release() == 0
    assert not held.alive()
    second = connection.hold("flock")
    connection.close()
    assert not second.alive()
    with pytest.raises(Unreachable):
        connection.run("flock")


def test_down_and_back() -> None:
    host = FakeHost("spark-1")
    connection = connected(host)
    connection.reconnect()
    host.down = Unreachable("spark-1: no answer", remedy="wait")
    with pytest.raises(Unreachable):
        connection.reconnect()
    assert host.connections == 2
    connection.abort()
    assert host.aborts == 1
    with pytest.raises(Unreachable):
        FakeConnector([])(Target("x", "y"), Become())
