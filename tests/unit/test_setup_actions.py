"""init and trust as actions: what they find and write, no output."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_cluster.actions import init, trust
from spark_cluster.core.error import HostKeyRejected, InputError, Unreachable
from spark_cluster.inventory import loader
from spark_cluster.runner import discover
from spark_cluster.transport.known_hosts import HostKey
from spark_cluster.transport.protocol import Target
from tests.operators import Operators
from tests.operators import silent as silent_actions

from .cases import write
from .test_discovery import mixed
from .test_init import NAMES, nodes

silent = pytest.fixture(autouse=True)(silent_actions)


@pytest.fixture(autouse=True)
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no networks and knows no neighbours."""
    monkeypatch.setattr(discover, "own_networks", list)
    monkeypatch.setattr(discover, "own_neighbours", list)
    monkeypatch.setattr("shutil.which", lambda _: None)


def test_a_draft_is_an_inventory_and_is_written_only_once(over: Operators, tmp_path: Path) -> None:
    path = tmp_path / "new/sparks.yaml"
    operator, _ = over(nodes(mixed()))
    draft = init.draft(NAMES, path, operator)
    assert [len(host.rails) for host in draft.inventory.hosts.values()] == [0, 2, 2]
    assert (draft.left_out, path.exists()) == ({}, False)
    init.write(path, draft.text, force=False)
    assert loader.load(path).groups == draft.inventory.groups == {"pair": ("spark-2", "spark-3")}
    with pytest.raises(InputError):
        init.write(path, "mine: true\n", force=False)
    assert path.read_text(encoding="utf-8") == draft.text


def test_who_does_not_answer_is_an_error_or_left_out(over: Operators, tmp_path: Path) -> None:
    hosts = nodes(mixed())
    hosts[0].down = Unreachable("spark-1: no route to host", remedy="Is it on?")
    operator, _ = over(hosts)
    with pytest.raises(Unreachable):
        init.draft(NAMES, tmp_path / "sparks.yaml", operator)
    draft = init.draft(NAMES, tmp_path / "sparks.yaml", operator, all_needed=False)
    assert list(draft.left_out) == ["spark-1"]
    assert list(draft.inventory.hosts) == ["spark-2", "spark-3"]


INVENTORY = """\
version: 1
ssh: {config: CONFIG}
hosts:
  spark-2: {address: 127.0.0.2}
"""


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """The known_hosts of the inventory's only host; the file is not there yet."""
    path = tmp_path / "known_hosts"
    write(tmp_path / "config", f"Host *\n  UserKnownHostsFile {path}\n")
    write(tmp_path / "sparks.yaml", INVENTORY.replace("CONFIG", str(tmp_path / "config")))
    return path


def shows(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    """The host shows these keys, whatever it is asked."""

    def scan(_: Target) -> list[HostKey]:
        return [HostKey("127.0.0.2", *key.split()) for key in keys]

    monkeypatch.setattr("spark_cluster.transport.trust.scan", scan)


def test_keys_are_new_until_they_are_recorded(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = loader.load(tmp_path / "sparks.yaml")
    shows(monkeypatch, "ssh-ed25519 AAAA")
    first = trust.look(inventory, "spark-2")
    assert (first.host, first.path, first.new) == ("spark-2", str(known), first.keys)
    assert not known.exists()
    trust.record(first)
    shows(monkeypatch, "ssh-ed25519 AAAA", "ssh-rsa BBBB")
    then = trust.look(inventory, "spark-2")
    assert ([key.type for key in then.new], len(then.keys)) == (["ssh-rsa"], 2)
    trust.record(then)
    assert trust.look(inventory, "spark-2").new == ()


def test_another_key_replaces_one_only_if_that_is_said(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = loader.load(tmp_path / "sparks.yaml")
    shows(monkeypatch, "ssh-ed25519 AAAA")
    trust.record(trust.look(inventory, "spark-2"))
    before = known.read_bytes()
    shows(monkeypatch, "ssh-ed25519 CCCC")
    other = trust.look(inventory, "spark-2")
    with pytest.raises(HostKeyRejected):
        trust.record(other)
    assert known.read_bytes() == before
    trust.record(other, replace=True)
    assert trust.look(inventory, "spark-2").new == ()
    assert b"AAAA" not in known.read_bytes()


def test_a_file_of_known_hosts_that_cannot_be_written_is_named(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = loader.load(tmp_path / "sparks.yaml")
    shows(monkeypatch, "ssh-ed25519 AAAA")
    found = trust.look(inventory, "spark-2")
    known.mkdir(parents=True)
    with pytest.raises(InputError, match=f"cannot write {known}") as caught:
        trust.record(found)
    assert "known_hosts: FILE" in caught.value.remedy
