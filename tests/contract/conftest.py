"""Fixtures: an sshd, a clean home, users with sudo."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.transport import dial as dialling
from spark_cluster.transport.protocol import Become, Target
from spark_cluster.transport.pump import Wire
from spark_cluster.transport.ssh import SshConnection, connect

from . import bench_cli, engines_venv
from .bench_server import BenchServer
from .sshd_server import SSHD, Server, User, temporary_user

Dial = Callable[..., SshConnection]
StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def sshd_folder() -> Iterator[Path]:
    if SSHD is None:
        pytest.skip("no sshd on this machine (apt install openssh-server)")
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen on this machine (apt install openssh-client)")
    with tempfile.TemporaryDirectory(prefix="sshd-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def server(sshd_folder: Path) -> Iterator[Server]:
    """A real sshd that lets the current user in with its client key."""
    started = Server(sshd_folder)
    yield started
    started.stop()


@pytest.fixture
def other_server(sshd_folder: Path) -> Iterator[StartServer]:
    """Starts further servers with options of their own."""
    with ExitStack() as stack:

        def start(*options: str) -> Server:
            started = Server(sshd_folder, *options)
            stack.callback(started.stop)
            return started

        yield start


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and no agent, so that the developer's own keys take no part."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


@dataclass
class Counts:
    """How many TCP connections to targets and execs were begun."""

    connections: int = 0
    execs: int = 0


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    found = Counts()
    socket_for, start = dialling.socket_for, SshConnection._start

    def counted_socket(*arguments: Any, last: bool) -> Any:
        found.connections += last
        return socket_for(*arguments, last=last)

    def counted_start(connection: SshConnection, command: str) -> Wire:
        found.execs += 1
        return start(connection, command)

    monkeypatch.setattr(dialling, "socket_for", counted_socket)
    monkeypatch.setattr(SshConnection, "_start", counted_start)
    return found


@pytest.fixture
def dial(home: Path) -> Iterator[Dial]:
    """`connect`, with everything closed at the end."""
    with ExitStack() as stack:

        def connected(target: Target, become: Become | None = None) -> SshConnection:
            connection = connect(target, become or Become())
            stack.callback(connection.close)
            return connection

        yield connected


@pytest.fixture(scope="session")
def may_make_users() -> None:
    if os.geteuid() != 0:
        pytest.skip("making a temporary user needs root")
    if shutil.which("sudo") is None:
        pytest.skip("no sudo on this machine (apt install sudo)")


@pytest.fixture(scope="session")
def sudoer(may_make_users: None) -> Iterator[User]:
    """A user who may use sudo with a password."""
    with temporary_user("ALL=(ALL) ALL") as user:
        yield user


@pytest.fixture(scope="session")
def free_sudoer(may_make_users: None) -> Iterator[User]:
    """A user who may use sudo without a password."""
    with temporary_user("ALL=(ALL) NOPASSWD: ALL") as user:
        yield user


@pytest.fixture(scope="session")
def engines() -> None:
    """The real engines' virtual environment is there, and nodes can be made for them."""
    problem = engines_venv.why_not()
    if problem:
        pytest.skip(f"the real engines are left out: {problem}")
    if not engines_venv.installed():
        pytest.skip("the real engines are not installed (make engines)")


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> bench_cli.Bench:
    """`spark-cluster bench` in an empty folder."""
    return bench_cli.command(tmp_path, monkeypatch, capsys)


@pytest.fixture
def start() -> Iterator[bench_cli.Start]:
    """Starts HTTP servers that behave as told."""
    with ExitStack() as stack:

        def begin(**behaviour: Any) -> BenchServer:
            server = BenchServer(**behaviour)
            stack.callback(server.close)
            return server

        yield begin
