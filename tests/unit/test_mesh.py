"""What `mesh` does to real files, and that undoing it leaves them as they were, byte for byte."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_cluster.core.step import Assessment
from spark_cluster.facts import mesh as facts
from spark_cluster.facts.base import Facts, ProbeContext
from spark_cluster.facts.mesh import CALLS, MESH, MeshFact
from spark_cluster.facts.table import FACTS
from spark_cluster.steps import mesh, registry, steps_of
from spark_cluster.steps.view import View
from tests.fake_transport import FakeConnector

from . import world

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="no ssh-keygen (apt install openssh-client)"
)

PEER = MeshFact(
    user="nvidia", key="ssh-ed25519 AAAApeer", private=True, sound=True,
    host_keys=("ssh-ed25519 AAAAhost", "ssh-rsa AAAAhost"),
)  # fmt: skip


class Home:
    """A home folder on this machine, in the part of spark-2."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ssh = folder / ".ssh"

    def run(self, script: str) -> str:
        prelude = f"SPARK_USER={getpass.getuser()}\nSPARK_HOME={self.folder}\n"
        done = subprocess.run(
            ["sh", "-s"], input=prelude + script, capture_output=True, text=True, errors="replace",
            timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def read(self) -> MeshFact:
        context = ProbeContext(world.inventory().hosts["spark-2"], world.inventory())
        return MESH.parse(self.run(MESH.script(context)))

    def view(self, peer: MeshFact = PEER) -> View:
        mine = Facts({MESH.name: self.read()})
        every = {"spark-2": mine, "spark-3": Facts({MESH.name: peer})}
        host = world.inventory().hosts["spark-2"]
        return View(host, world.inventory(), mine, every, mine)

    def step(self, name: str, state: str = "present", peer: MeshFact = PEER) -> Assessment:
        step = registry()[name]
        found: Assessment = step.assess(self.view(peer), step.params(state=state))
        return found

    def apply(self, name: str, state: str = "present", peer: MeshFact = PEER) -> None:
        for change in self.step(name, state, peer).changes:
            self.run(f"set -eu\n{change.commands}")
        assert self.step(name, state, peer).settled or state == "absent"

    def files(self) -> dict[str, tuple[bytes, int]]:
        if not self.ssh.is_dir():
            return {}
        return {path.name: (path.read_bytes(), path.stat().st_mode & 0o777)
                for path in sorted(self.ssh.iterdir())}  # fmt: skip


def both(home: Home, state: str = "present") -> None:
    for name in ("mesh-keys", "mesh-trust"):
        home.apply(name, state)


def given_files(home: Home, files: Mapping[str, bytes], mode: int = 0o600) -> None:
    home.ssh.mkdir(mode=0o700)
    for name, content in files.items():
        (home.ssh / name).write_bytes(content)
        (home.ssh / name).chmod(mode)


def test_from_nothing_and_back(tmp_path: Path) -> None:
    home = Home(tmp_path)
    both(home)
    files = home.files()
    assert {name: mode for name, (_, mode) in files.items()} == {
        "authorized_keys": 0o600, "config": 0o600, "id_ed25519_spark_cluster": 0o600,
        "id_ed25519_spark_cluster.pub": 0o600, "known_hosts": 0o600, "spark-cluster.conf": 0o600,
    }  # fmt: skip
    assert home.ssh.stat().st_mode & 0o777 == 0o700
    assert files["authorized_keys"][0] == b"ssh-ed25519 AAAApeer spark-cluster-mesh spark-3\n"
    assert files["config"][0] == b"Include ~/.ssh/spark-cluster.conf\n"
    both(home, "absent")
    assert home.files() == {}


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    both(home)
    before = home.files()
    for name in ("mesh-keys", "mesh-trust"):
        assert home.step(name).changes == ()
    both(home)
    assert home.files() == before


CONTENT = st.lists(
    st.sampled_from([
        b"ssh-ed25519 AAAA me@desk\n", b"\n", b"# a comment\n", b"bad \xff\xfe bytes\n", b"\r\n",
        b"ssh-rsa AAAA spark-cluster-mesh\n", b"Host other\n  Port 99\n", b"no newline at the end",
        b"  Include ~/.ssh/spark-cluster.conf.d\n", b"a\x00b\n",
    ])
).map(b"".join)  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(
    st.dictionaries(st.sampled_from(facts.FILES), CONTENT), st.sampled_from([0o600, 0o644, 0o640])
)
def test_the_rest_stays_byte_for_byte(files: dict[str, bytes], mode: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Home(Path(name))
        given_files(home, files, mode)
        before = home.files()
        both(home)
        for file, content in files.items():
            now, now_mode = home.files()[file]
            assert now.endswith(content)
            assert now_mode == mode
        both(home, "absent")
        assert home.files() == before


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.ssh.mkdir()
    (tmp_path / "dotfiles").write_text("Host a\n")
    (home.ssh / "config").symlink_to(tmp_path / "dotfiles")
    both(home)
    assert (home.ssh / "config").is_symlink()
    assert (tmp_path / "dotfiles").read_text() == "Include ~/.ssh/spark-cluster.conf\nHost a\n"
    both(home, "absent")
    assert (tmp_path / "dotfiles").read_text() == "Host a\n"


def test_the_private_key_never_leaves_the_node(tmp_path: Path) -> None:
    home = Home(tmp_path)
    both(home)
    private = (home.ssh / facts.KEY).read_text().splitlines()[1:-1]
    context = ProbeContext(world.inventory().hosts["spark-2"], world.inventory())
    told = home.run(MESH.script(context))
    assert private
    assert not any(line in told for line in private)


def test_a_peer_with_a_new_key_replaces_the_old_one(tmp_path: Path) -> None:
    home = Home(tmp_path)
    both(home)
    newer = MeshFact(user="nvidia", key="ssh-ed25519 AAAAnewer", host_keys=PEER.host_keys)
    home.apply("mesh-trust", peer=newer)
    text = home.files()["authorized_keys"][0]
    assert text == b"ssh-ed25519 AAAAnewer spark-cluster-mesh spark-3\n"


def test_a_key_that_is_not_made_yet_is_told_and_not_written(tmp_path: Path) -> None:
    home = Home(tmp_path)
    unmade = MeshFact(user="nvidia", host_keys=PEER.host_keys)
    changes = {change.what: change for change in home.step("mesh-trust", peer=unmade).changes}
    change = changes["~/.ssh/authorized_keys"]
    assert change.after == "1 key of ours"
    assert change.diff == ("+(a key to be made) spark-cluster-mesh spark-3",)
    home.run(f"set -eu\n{change.commands}")
    assert home.files()["authorized_keys"][0] == b""
    assert not home.step("mesh-trust", peer=unmade).settled


def test_the_files_are_what_openssh_reads(tmp_path: Path) -> None:
    home = Home(tmp_path)
    both(home)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIR4MS0pKcqcKpYsIDaKyQ6rHcUZxXwvV0mY3dE3G1Zt"
    (home.ssh / "known_hosts").write_text(
        (home.ssh / "known_hosts").read_text().replace("ssh-ed25519 AAAAhost", key)
    )
    found = subprocess.run(
        ["ssh-keygen", "-F", "192.168.101.11", "-f", str(home.ssh / "known_hosts")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert key in found.stdout
    if shutil.which("ssh") is None:
        pytest.skip("no ssh on this machine (apt install openssh-client)")
    seen = subprocess.run(
        ["ssh", "-G", "-F", str(home.ssh / "spark-cluster.conf"), "spark-3"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for line in ("hostname 192.168.100.11", "user nvidia", "identitiesonly yes"):
        assert line in seen


# Reading


def test_peers_are_those_in_a_common_network_rails_first() -> None:
    inventory = world.inventory()
    assert facts.peers(inventory, inventory.hosts["spark-2"]) == {
        "spark-1": ("192.168.102.10",), "spark-3": ("192.168.100.11", "192.168.101.11"),
    }  # fmt: skip
    assert list(facts.peers(inventory, inventory.hosts["spark-3"])) == ["spark-2"]


def test_the_calls_ask_no_questions() -> None:
    context = ProbeContext(world.inventory().hosts["spark-2"], world.inventory())
    script = CALLS.script(context)
    assert "BatchMode=yes" in script
    assert "StrictHostKeyChecking=yes" in script
    assert "timeout -k" in script
    subprocess.run(["sh", "-n"], input=script.encode(), check=True, timeout=20)


def test_a_peer_is_called_at_one_address_after_the_other(tmp_path: Path) -> None:
    """sshd drops connections when ten have not logged in yet: never two to one peer at once."""
    for name in ("ssh", "timeout"):
        (tmp_path / name).write_text(FAKE[name])
        (tmp_path / name).chmod(0o755)
    context = ProbeContext(world.inventory().hosts["spark-2"], world.inventory())
    prelude = f"PATH={tmp_path}:$PATH\nSPARK_USER=$(id -un)\nlog={tmp_path}/log; export log\n"
    done = subprocess.run(
        ["sh", "-s"], input=prelude + CALLS.script(context), capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    calls = CALLS.parse(done.stdout).calls
    assert [(call.peer, call.address, call.worked) for call in calls] == [
        ("spark-1", "spark-1", True), ("spark-3", "192.168.101.11", True),
        ("spark-3", "spark-3", True),
    ]  # fmt: skip
    lines = (tmp_path / "log").read_text().split("\n")
    first, second = lines.index("end spark-3"), lines.index("begin 192.168.101.11")
    assert first < second


def test_a_peer_that_hangs_is_not_called_again_one_that_refuses_is(tmp_path: Path) -> None:
    context = ProbeContext(world.inventory().hosts["spark-2"], world.inventory())
    for status, addresses in ((124, ["spark-3"]), (255, ["192.168.101.11", "spark-3"])):
        (tmp_path / "timeout").write_text(f"#!/bin/sh\nexit {status}\n")
        (tmp_path / "timeout").chmod(0o755)
        prelude = f"PATH={tmp_path}:$PATH\nSPARK_USER=$(id -un)\n"
        done = subprocess.run(
            ["sh", "-s"], input=prelude + CALLS.script(context), capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        calls = [call for call in CALLS.parse(done.stdout).calls if call.peer == "spark-3"]
        assert [call.address for call in calls] == addresses


#: ssh says when it begins and ends; `timeout` drops its own options.
FAKE = {
    "ssh": '#!/bin/sh\nfor _to; do shift; [ "$_to" = true ] && break; _last=$_to; done\n'
    'echo "begin $_last" >> "$log"\nread _ < /dev/null\necho "end $_last" >> "$log"\n',
    "timeout": '#!/bin/sh\nshift 3\nexec "$@"\n',
}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("spark-3 spark-3 0 ", ""),
        ("spark-3 spark-3 124 ", "not done within 25 s"),
        ("spark-3 spark-3 137 Killed", "not done within 25 s"),
        ("spark-3 spark-3 255 ssh: No route to host", "ssh: No route to host"),
        ("spark-3 spark-3 255 ", "ssh ended with status 255"),
    ],
)
def test_a_call_says_why_it_failed(line: str, why: str) -> None:
    (call,) = CALLS.parse(line + "\n").calls
    assert (call.worked, call.why) == (why == "", why)


@given(st.text(max_size=200))
def test_whatever_comes_is_read(text: str) -> None:
    MESH.parse(text)
    CALLS.parse(text)


def test_the_facts_are_known() -> None:
    assert {MESH.name, CALLS.name} <= set(FACTS)
    assert [step.name for step in steps_of(mesh)] == ["mesh-keys", "mesh-trust", "mesh-connect"]


# The verb


def test_the_verb_runs_the_steps_and_undo_their_opposite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from spark_cluster.cli import app

    hosts = [world.Spark("spark-2"), world.Spark("spark-3")]
    hosts[0].effect("rm -f", mesh="user nvidia\nthere authorized_keys\n")
    hosts[1].effect("rm -f", mesh="user nvidia\nthere authorized_keys\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("spark_cluster.actions.operator.connector", lambda: FakeConnector(hosts))
    options = ["--hosts", "pair", "-i", str(world.inventory().path)]
    assert app.run(["mesh", *options]) == 0
    assert "mesh: 6 ok" in capsys.readouterr().out
    assert [host.changes for host in hosts] == [[], []]
    assert app.run(["mesh", "--undo", "--dry-run", *options]) == 0
    assert "~/.ssh/known_hosts: 1 line of ours -> none" in capsys.readouterr().out
    assert [host.changes for host in hosts] == [[], []]
    assert app.run(["mesh", "--undo", *options]) == 0
    out = capsys.readouterr().out
    assert "undo: what mesh added is removed" in out
    assert "~/.ssh/id_ed25519_spark_cluster: a key -> absent" in out
    assert all("rm -f" in "".join(host.changes) for host in hosts)


def test_before_the_keys_are_made_the_plan_says_what_is_now_and_not_that_it_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from spark_cluster.cli import app

    calls = "{0} {0} 255 Host key verification failed.\n"
    hosts = [
        world.Spark(name, {"mesh": "user nvidia\n", "mesh-calls": calls.format(peer)})
        for name, peer in (("spark-2", "spark-3"), ("spark-3", "spark-2"))
    ]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("spark_cluster.actions.operator.connector", lambda: FakeConnector(hosts))
    options = ["--hosts", "pair", "-i", str(world.inventory().path), "--dry-run"]
    assert app.run(["mesh", *options]) == 0
    out = capsys.readouterr().out
    assert "now: SSH001 spark-2 to spark-3 (spark-3): Host key verification failed." in out
    assert "in the way" not in out
    for host in hosts:  # with keys made, the same failure is one that mesh cannot mend
        host.texts["mesh"] = world.healthy("mesh", host.name)
    assert app.run(["mesh", *options]) == 0
    assert "in the way: SSH001 spark-2 to spark-3" in capsys.readouterr().out


def test_hosts_without_a_common_network_are_told_apart() -> None:
    every = {
        name: Facts({MESH.name: PEER, CALLS.name: CALLS.parse("spark-2 spark-2 0 \n")})
        for name in ("spark-1", "spark-2", "spark-3")
    }
    inventory = world.inventory()
    view = View(inventory.hosts["spark-1"], inventory, every["spark-1"], every, every["spark-1"])
    found = mesh.connect.assess(view, mesh.Params())
    assert found.notes == ("reaches spark-2", "shares no network with spark-3: not tried")
