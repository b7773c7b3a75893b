"""Connecting to a real sshd: host keys, keys, gateways, and everything that does not answer."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_cluster.core.error import AuthFailed, HostKeyRejected, InputError, Unreachable
from spark_cluster.transport import ssh, trust
from spark_cluster.transport.protocol import Connection, Connector, Target

from .conftest import Counts, Dial, StartServer
from .sshd_server import Server, established, eventually, free_port, keygen

pytestmark = pytest.mark.contract


def test_it_is_a_connector(server: Server, dial: Dial) -> None:
    connector: Connector = ssh.connect
    connection: Connection = dial(server.target())
    assert connector is ssh.connect
    assert connection.host == "spark-1"
    connection.close()
    connection.close()


def test_unknown_key_is_refused_and_then_trusted(server: Server, dial: Dial) -> None:
    target = server.target(known="")
    with pytest.raises(HostKeyRejected) as caught:
        dial(target)
    assert caught.value.remedy == "spark-cluster trust spark-1"
    assert "unknown" in caught.value.message
    eventually(lambda: not established(server.port))
    keys = trust.scan(target)
    assert [key.type for key in keys] == ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]
    assert keys[0].fingerprint in caught.value.message
    assert {key.line for key in keys} == {server.host_key(k) for k in ("ed25519", "ecdsa", "rsa")}
    assert not trust.is_known(target, keys[0])
    assert trust.path_for(target) == target.known_hosts
    trust.record(trust.path_for(target), keys)
    assert trust.is_known(target, keys[0])
    assert dial(target).run("true").ok


def test_fingerprints_are_those_of_ssh_keygen(server: Server, home: Path) -> None:
    key = trust.scan(server.target())[0]
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host_ed25519.pub")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert key.fingerprint == shown.stdout.split()[1]


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_a_host_known_by_another_key_type_only(server: Server, dial: Dial, kind: str) -> None:
    assert dial(server.target(known=server.host_key(kind))).run("true").ok


def test_several_known_types_of_which_one_is_stale(server: Server, dial: Dial) -> None:
    stale = server.host_key("rsa").replace("ssh-rsa AAAAB3NzaC1yc2E", "ssh-dss AAAAB3NzaC1kc3M")
    assert dial(server.target(known=stale + server.host_key("ecdsa"))).run("true").ok


def test_changed_key(server: Server, dial: Dial, tmp_path: Path) -> None:
    public = keygen(tmp_path / "old").with_suffix(".pub").read_text().split()
    target = server.target(known=f"{server.known_name} {public[0]} {public[1]}\n")
    with pytest.raises(HostKeyRejected) as caught:
        dial(target)
    assert "CHANGED" in caught.value.message
    assert len(re.findall(r"SHA256:\S{43}", caught.value.message)) == 2
    assert "spark-cluster trust spark-1 --replace" in caught.value.remedy
    keys = trust.scan(target)
    with pytest.raises(HostKeyRejected):
        trust.record(trust.path_for(target), keys)
    trust.record(trust.path_for(target), keys, replace=True)
    assert dial(target).run("true").ok


def test_revoked_key(server: Server, dial: Dial) -> None:
    with pytest.raises(HostKeyRejected):
        dial(server.target(known=server.host_key() + "@revoked " + server.host_key()))


def test_refused_key(server: Server, dial: Dial, counts: Counts, tmp_path: Path) -> None:
    wrong = keygen(tmp_path / "wrong")
    with pytest.raises(AuthFailed) as caught:
        dial(server.target(identity=wrong, user="root"))
    assert "refused user root" in caught.value.message
    assert str(wrong) in caught.value.message
    assert f"ssh-copy-id -p {server.port} root@127.0.0.1" in caught.value.remedy
    assert counts.connections == 1


def test_no_key_and_an_encrypted_one(server: Server, dial: Dial, tmp_path: Path) -> None:
    locked = keygen(tmp_path / "locked", passphrase="a long phrase")
    with pytest.raises(AuthFailed, match="encrypted and no agent holds it"):
        dial(server.target(identity=locked))
    with pytest.raises(AuthFailed, match="is not there"):
        dial(server.target(identity=tmp_path / "absent"))


def test_too_many_keys(other_server: StartServer, dial: Dial, tmp_path: Path) -> None:
    server = other_server("MaxAuthTries 2")
    keys = [keygen(tmp_path / f"key{number}") for number in range(4)]
    config = tmp_path / "config"
    identities = "".join(f"  IdentityFile {key}\n" for key in keys)
    config.write_text(f"Host far\n  HostName 127.0.0.1\n  Port {server.port}\n{identities}")
    target = server.target(address="far", ssh_config=str(config), identity=keys[0])
    with pytest.raises(AuthFailed) as caught:
        dial(target)
    assert "too many authentication failures" in caught.value.message
    assert "IdentitiesOnly" in caught.value.remedy


@pytest.fixture
def agent(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An ssh-agent with nothing in it."""
    sock = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(sock))
    eventually(sock.exists)
    yield
    process.terminate()
    process.wait(10)


def test_the_agents_key_for_a_configured_file_comes_first(
    agent: None, other_server: StartServer, dial: Dial, tmp_path: Path
) -> None:
    server = other_server("MaxAuthTries 2")
    for number in range(4):
        other = keygen(tmp_path / f"other{number}")
        subprocess.run(["ssh-add", "-q", str(other)], check=True)
    subprocess.run(["ssh-add", "-q", str(server.client_key)], check=True)
    public = tmp_path / "mine.pub"
    public.write_text((server.folder / "client.pub").read_text())
    assert dial(server.target(identity=tmp_path / "mine")).run("true").ok


def test_identities_only(agent: None, server: Server, dial: Dial, tmp_path: Path) -> None:
    subprocess.run(["ssh-add", "-q", str(server.client_key)], check=True)
    wrong = keygen(tmp_path / "wrong")
    assert dial(server.target(identity=wrong)).run("true").ok
    config = tmp_path / "config"
    config.write_text(
        f"Host far\n  HostName 127.0.0.1\n  Port {server.port}\n  IdentitiesOnly yes\n"
    )
    target = server.target(identity=wrong, address="far", ssh_config=str(config))
    with pytest.raises(AuthFailed):
        dial(target)


def test_ssh_config_with_include_and_alias(server: Server, dial: Dial, home: Path) -> None:
    more = home / ".ssh" / "more"
    more.write_text(f"Host far\n  HostName 127.0.0.1\n  Port {server.port}\n")
    config = home / ".ssh" / "config"
    config.write_text("Include more\nHost far\n  HostKeyAlias Far-Away\n  User nobody-here\n")
    known = server.host_key().replace(server.known_name, "far-away")
    target = server.target(address="far", ssh_config=str(config), known=known)
    assert dial(target).run("true").ok


def test_user_known_hosts_file_and_usual_one(server: Server, dial: Dial, home: Path) -> None:
    plain = server.target()
    config = home / "config"
    named = home / "named"
    config.write_text(
        f"Host far\n  HostName 127.0.0.1\n  Port {server.port}\n  UserKnownHostsFile {named}\n"
    )
    target = Target(
        "spark-1", "far", user=plain.user, identity=plain.identity, ssh_config=str(config)
    )
    with pytest.raises(HostKeyRejected, match=str(named)):
        dial(target)
    (home / ".ssh" / "known_hosts").write_text(server.host_key())
    assert dial(target).run("true").ok


def test_gateway(server: Server, dial: Dial, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host *\n  IdentityFile {server.client_key}\n  Port {server.port}\n"
        "Host door\n  HostName 127.0.0.1\n"
        "Host far\n  HostName localhost\n  ProxyJump door\n"
    )
    inner = server.host_key().replace("127.0.0.1", "localhost")
    target = server.target(address="far", ssh_config=str(config), known=server.host_key() + inner)
    assert dial(target).run("echo through").stdout == "through\n"
    assert len(trust.scan(target)) == 3
    only_inner = server.target(address="far", ssh_config=str(config), known=inner)
    with pytest.raises(HostKeyRejected, match="door"):
        dial(only_inner)


def test_gateway_to_a_closed_port(server: Server, dial: Dial, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        f"Host *\n  IdentityFile {server.client_key}\n"
        f"Host door\n  HostName 127.0.0.1\n  Port {server.port}\n"
        f"Host far\n  HostName localhost\n  Port {free_port()}\n  ProxyJump door\n"
    )
    with pytest.raises(Unreachable, match="gateway door could not connect"):
        dial(server.target(address="far", ssh_config=str(config)))


def test_missing_ssh_config(server: Server, dial: Dial) -> None:
    with pytest.raises(InputError, match="no ssh_config"):
        dial(server.target(ssh_config="/nowhere/config"))


def _fails_within(dial: Dial, target: Target, seconds: float) -> Unreachable:
    begun = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        dial(target)
    assert time.monotonic() - begun < seconds
    return caught.value


def test_closed_port(home: Path, dial: Dial) -> None:
    port = free_port()
    target = Target("spark-1", "127.0.0.1", port=port, connect_timeout=5)
    error = _fails_within(dial, target, 2.0)
    assert f"spark-1 (127.0.0.1:{port}): connection refused" in error.message
    assert f"port {port}" in error.remedy


def test_name_that_does_not_resolve(dial: Dial) -> None:
    target = Target("spark-1", "no-such-host.invalid", connect_timeout=5)
    assert "could not be resolved" in _fails_within(dial, target, 8.0).message


def test_port_that_never_answers(dial: Dial, counts: Counts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        target = Target("spark-1", "127.0.0.1", port=port, connect_timeout=1.0)
        error = _fails_within(dial, target, 3.0)
    assert "no SSH banner within 1." in error.message
    assert counts.connections == 1


def test_port_that_drops_all(dial: Dial) -> None:
    """A full backlog: the handshake of TCP itself gets no answer."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        port = listening.getsockname()[1]
        target = Target("spark-1", "127.0.0.1", port=port, connect_timeout=1.0)
        error = _fails_within(dial, target, 3.0)
    assert "within 1." in error.message or "timed out after 1." in error.message


def test_frozen_sshd(other_server: StartServer, dial: Dial) -> None:
    server = other_server()
    target = server.target(connect_timeout=1.0)
    pid = int((server.folder / f"sshd_{server.port}.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        _fails_within(dial, target, 3.0)
    finally:
        os.kill(pid, signal.SIGCONT)


def _only_place(server: Server) -> socket.socket:
    """Take the one place that MaxStartups leaves, once sshd has freed it."""
    taken: list[socket.socket] = []

    def take() -> bool:
        sock = socket.create_connection(server.address, 5)
        with contextlib.suppress(ConnectionResetError):
            if sock.recv(4) == b"SSH-":
                taken.append(sock)
                return True
        sock.close()
        return False

    eventually(take)
    with socket.create_connection(server.address, 5) as second, contextlib.suppress(OSError):
        if second.recv(4) == b"SSH-":
            taken[0].close()
            pytest.skip("this sshd does not heed MaxStartups (Ubuntu 24.04's 9.6p1 does not)")
    return taken[0]


def test_full_sshd_is_tried_again(other_server: StartServer, dial: Dial, counts: Counts) -> None:
    server = other_server("MaxStartups 1")
    first = _only_place(server)

    def leave() -> None:
        eventually(lambda: counts.connections > 1)
        first.close()

    leaving = threading.Thread(target=leave)
    leaving.start()
    connection = dial(server.target())
    leaving.join(15)
    assert counts.connections >= 2
    assert connection.run("true").ok


def test_sshd_that_stays_full(other_server: StartServer, dial: Dial) -> None:
    server = other_server("MaxStartups 1")
    with _only_place(server):
        error = _fails_within(dial, server.target(connect_timeout=2.0), 4.0)
    assert "MaxStartups" in error.remedy


_QUIET = """
import sys
from spark_cluster.core.error import Unreachable
from spark_cluster.transport.protocol import Become, Target
from spark_cluster.transport.ssh import connect
try:
    connect(Target("spark-1", "127.0.0.1", port=int(sys.argv[1]), connect_timeout=1.0), Become())
except Unreachable:
    sys.exit(7)
"""


def test_nothing_reaches_the_terminal(server: Server, home: Path) -> None:
    """In a process of its own, where no test runner has set up logging."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closing = threading.Thread(target=lambda: listening.accept()[0].close())
        closing.start()
        for port in (server.port, listening.getsockname()[1]):
            command = [sys.executable, "-c", _QUIET, str(port)]
            done = subprocess.run(command, capture_output=True, timeout=30, text=True)
            assert (done.returncode, done.stdout, done.stderr) == (7, "", "")
        closing.join(5)
