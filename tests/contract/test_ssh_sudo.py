"""Becoming root through the real sudo: without a password, with one, and not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spark_cluster.core.error import AuthFailed
from spark_cluster.core.secret import Secret
from spark_cluster.transport.protocol import Become
from spark_cluster.transport.ssh import SshConnection

from .conftest import Dial
from .sshd_server import Server, User, eventually, running, temporary_user

pytestmark = pytest.mark.contract


class Asked:
    """A terminal with someone who types the same password each time."""

    def __init__(self, password: str) -> None:
        self.times = 0
        self._password = password

    def __call__(self) -> Secret:
        self.times += 1
        return Secret(self._password)


def test_without_a_password(server: Server, dial: Dial, free_sudoer: User) -> None:
    connection = dial(server.target(user=free_sudoer.name))
    done = connection.run('id -u; echo "$SSH_CONNECTION"')
    user, came_from = done.stdout.splitlines()
    assert user == "0"
    assert came_from.endswith(str(server.port))
    assert connection.run("id -un", root=False).stdout.strip() == free_sudoer.name
    assert connection.execs == 2


def test_password_asked_once_for_four_connections(server: Server, dial: Dial, sudoer: User) -> None:
    ask = Asked(sudoer.password)
    become = Become(ask=ask)
    connections = [dial(server.target(user=sudoer.name), become) for _ in range(4)]
    together = threading.Barrier(4)

    def root(connection: SshConnection) -> str:
        together.wait(30)
        return connection.run("id -u; cat").stdout

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(root, connections)) == ["0\n"] * 4
    assert ask.times == 1
    assert become.secrets == [Secret(sudoer.password)]
    assert connections[0].run("echo again").stdout == "again\n"
    assert connections[0].execs == 3


def test_wrong_password(server: Server, dial: Dial, sudoer: User) -> None:
    ask = Asked("not-the-password")
    connection = dial(server.target(user=sudoer.name), Become(ask=ask))
    with pytest.raises(AuthFailed) as caught:
        connection.run("id -u")
    assert "the password is wrong" in caught.value.message
    assert "not-the-password" not in str(caught.value.as_dict())
    assert ask.times == 1


def test_no_terminal(server: Server, dial: Dial, sudoer: User) -> None:
    connection = dial(server.target(user=sudoer.name))
    with pytest.raises(AuthFailed, match="wants a password and there is no terminal") as caught:
        connection.run("id -u")
    assert "NOPASSWD" in caught.value.remedy


def test_not_in_sudoers(server: Server, dial: Dial, may_make_users: None) -> None:
    with temporary_user("ALL=(nobody) /bin/false") as user:
        connection = dial(server.target(user=user.name), Become(ask=Asked(user.password)))
        with pytest.raises(AuthFailed, match=r"sudo on spark-1 refused: .*not allowed"):
            connection.run("id -u")


def test_rule_that_changes_under_a_connection(
    server: Server, dial: Dial, may_make_users: None
) -> None:
    """A password that sudo no longer asks for must not end up in the shell."""
    with temporary_user("ALL=(ALL) ALL") as user:
        connection = dial(server.target(user=user.name), Become(ask=Asked(user.password)))
        assert connection.run("id -u").ok
        Path(f"/etc/sudoers.d/{user.name}").chmod(0o640)
        Path(f"/etc/sudoers.d/{user.name}").write_text(f"{user.name} ALL=(ALL) NOPASSWD: ALL\n")
        Path(f"/etc/sudoers.d/{user.name}").chmod(0o440)
        done = connection.run("id -u")
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_hold_abort_and_limit_with_a_password(
    server: Server, dial: Dial, sudoer: User, tmp_path: Path
) -> None:
    connection = dial(server.target(user=sudoer.name), Become(ask=Asked(sudoer.password)))
    held = connection.hold("id -u; cat >/dev/null; exit 6")
    assert held.first_line == "0"
    file = tmp_path / "pid"
    script = f"sh -c 'echo $$ >{file}; exec sleep 300'"
    assert connection.run(script, timeout=1.0).timed_out
    assert not running(int(file.read_text()))
    file.unlink()
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(connection.run(script).status))
    thread.start()
    eventually(lambda: file.exists() and file.read_text())
    connection.abort()
    thread.join(30)
    assert done and done != [0]
    assert not running(int(file.read_text()))
    assert held.release() == 6


class ArgumentWatch:
    """Reads all processes' arguments and environments again and again while a script runs."""

    def __init__(self, *words: str) -> None:
        self.seen: set[str] = set()
        self._words = words
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> ArgumentWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._stop.wait(0.005):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    text = file.read_bytes().decode(errors="replace")
                except OSError:
                    continue
                self.seen |= {word for word in self._words if word in text}


def test_secrets_stay_out_of_sight(
    server: Server, dial: Dial, sudoer: User, tmp_path: Path
) -> None:
    token, witness = "tok-5f21aa", "sudo\0-k\0-S"
    become = Become(ask=Asked(sudoer.password), secrets=[Secret(token)])
    connection = dial(server.target(user=sudoer.name), become)
    lines: list[str] = []
    go = tmp_path / "go"
    script = f"echo {token}; echo {sudoer.password} >&2; while [ ! -e {go} ]; do sleep 0.05; done"
    with ArgumentWatch(sudoer.password, token, witness) as watch:

        def open_the_way() -> None:
            eventually(lambda: witness in watch.seen)
            go.touch()

        opening = threading.Thread(target=open_the_way)
        opening.start()
        done = connection.run(script, on_line=lines.append, timeout=20)
        opening.join(15)
    assert watch.seen == {witness}
    assert (done.stdout, done.stderr, lines) == ("***\n", "***\n", ["***"])


def test_sudo_that_is_not_there(
    server: Server, dial: Dial, free_sudoer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spark_cluster.transport import exec as wrapping

    real: Callable[..., str] = wrapping.command_line
    monkeypatch.setattr(
        wrapping, "command_line", lambda *a: real(*a).replace("sudo -n", "sudo-gone -n")
    )
    connection = dial(server.target(user=free_sudoer.name))
    with pytest.raises(AuthFailed, match="not found"):
        connection.run("true")
