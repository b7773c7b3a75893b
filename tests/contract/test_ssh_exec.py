"""Running scripts over a real sshd: output, input, time limits, aborts, broken connections."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from spark_cluster.core.error import SparkError, StateUnknown, Unreachable
from spark_cluster.core.secret import Secret
from spark_cluster.transport import ssh
from spark_cluster.transport.protocol import Become, Completed, Target

from .conftest import Counts, Dial, StartServer
from .sshd_server import Server, User, established, eventually, running, temporary_user

pytestmark = pytest.mark.contract


class Running:
    """A script that runs in a thread of its own."""

    def __init__(self, connection: ssh.SshConnection, script: str, timeout: float = 60.0) -> None:
        self.done: Completed | None = None
        self.error: SparkError | None = None
        self._thread = threading.Thread(target=self._run, args=(connection, script, timeout))
        self._thread.start()

    def _run(self, connection: ssh.SshConnection, script: str, timeout: float) -> None:
        try:
            self.done = connection.run(script, timeout=timeout)
        except SparkError as error:
            self.error = error

    def join(self, seconds: float = 30.0) -> None:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the script still runs"


def pid_in(file: Path) -> int:
    eventually(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


def test_status_streams_and_counts(server: Server, dial: Dial, counts: Counts) -> None:
    connection = dial(server.target())
    done = connection.run("id -u; echo two >&2; exit 7", root=False)
    assert (done.status, done.stderr) == (7, "two\n")
    assert done.stdout.strip().isdigit()
    assert connection.run("echo again", root=False).stdout == "again\n"
    assert (counts.connections, counts.execs, connection.execs) == (1, 2, 2)
    sock = connection.transport.sock
    assert isinstance(sock, socket.socket)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_environment(server: Server, dial: Dial) -> None:
    plain = server.target()
    target = Target(**{**plain.__dict__, "environment": {"WITH": "a 'quoted' $word"}})
    done = dial(target).run('echo "$WITH"; echo "$LC_ALL"; echo "$PATH"; echo "$SSH_CONNECTION"')
    text, locale, path, came_from = done.stdout.splitlines()
    assert (text, locale) == ("a 'quoted' $word", "C")
    assert {"/usr/sbin", "/sbin"} <= set(path.split(":"))
    assert came_from.endswith(f"127.0.0.1 {server.port}")


def test_big_output_on_both_streams(server: Server, dial: Dial) -> None:
    size = 5_000_000
    done = dial(server.target()).run(
        f"head -c {size} /dev/zero | tr '\\0' o & head -c {size} /dev/zero | tr '\\0' e >&2; wait"
    )
    assert done.ok
    assert done.stdout == "o" * size
    assert done.stderr == "e" * size


def test_big_script(server: Server, dial: Dial) -> None:
    lines = "\n".join(f": {number} {'x' * 90}" for number in range(30_000))
    assert dial(server.target()).run(f"{lines}\necho end").stdout == "end\n"


def test_a_command_that_reads_its_input_does_not_eat_the_script(server: Server, dial: Dial) -> None:
    done = dial(server.target()).run("cat\nread -r line\nssh -V 2>/dev/null\ncat >&2\necho end")
    assert (done.status, done.stdout, done.stderr) == (0, "end\n", "")


def test_bytes_that_are_not_utf8(server: Server, dial: Dial) -> None:
    lines: list[str] = []
    done = dial(server.target()).run("printf 'a\\377b\\n\\303'", on_line=lines.append)
    assert done.stdout == "a\ufffdb\n\ufffd"
    assert lines == ["a\ufffdb", "\ufffd"]


def test_lines_arrive_while_the_script_runs(server: Server, dial: Dial, tmp_path: Path) -> None:
    go = tmp_path / "go"
    seen: list[str] = []

    def line(text: str) -> None:
        seen.append(text)
        go.touch()

    done = dial(server.target()).run(
        f"echo first; while [ ! -e {go} ]; do sleep 0.05; done; echo second",
        on_line=line,
        timeout=20,
    )
    assert done.ok
    assert seen == ["first", "second"]


def test_the_time_limit_kills_what_runs(server: Server, dial: Dial, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    done = dial(server.target()).run(f"sh -c 'echo $$ >{file}; exec sleep 300'", timeout=1.0)
    assert done.timed_out
    eventually(lambda: not running(pid_in(file)), 2.0)


def test_the_time_limit_kills_what_ignores_term(server: Server, dial: Dial, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"sh -c 'trap \"\" TERM; echo $$ >{file}; while :; do sleep 0.2; done'"
    done = dial(server.target()).run(script, timeout=0.5)
    assert done.timed_out
    eventually(lambda: not running(pid_in(file)), 2.0)


def test_a_process_left_in_the_background_does_not_hold_the_script(
    server: Server, dial: Dial, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    done = dial(server.target()).run(f"sleep 60 & echo $! >{file}; echo done")
    assert (done.stdout, done.status) == ("done\n", 0)
    assert done.seconds < 20
    subprocess.run(["kill", str(pid_in(file))], check=True)


def test_abort(server: Server, dial: Dial, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    connection = dial(server.target())
    script = Running(connection, f"sh -c 'echo $$ >{file}; exec sleep 300'", 120)
    pid = pid_in(file)
    connection.abort()
    script.join()
    assert script.done is not None and script.done.status == 143
    assert not running(pid)
    assert connection.run("echo usable").stdout == "usable\n"


def test_abort_as_root_through_sudo(
    server: Server, dial: Dial, free_sudoer: User, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    connection = dial(server.target(user=free_sudoer.name))
    script = Running(connection, f"sh -c 'echo $$ >{file}; exec sleep 300'", 120)
    pid = pid_in(file)
    connection.abort()
    script.join()
    assert script.done is not None and not script.done.ok
    assert not running(pid)


def test_abort_with_nothing_running(server: Server, dial: Dial) -> None:
    connection = dial(server.target())
    connection.abort()
    assert connection.execs == 0


def test_connection_killed_in_mid_command(
    other_server: StartServer, dial: Dial, counts: Counts, tmp_path: Path
) -> None:
    server = other_server()
    file = tmp_path / "pid"
    become = Become(secrets=[Secret("tok-123")])
    connection = dial(server.target(), become)
    script = Running(connection, f"echo tok-123 >/dev/null\necho $$ >{file}\nexec sleep 300\n")
    pid = pid_in(file)
    server.signal_sessions(signal.SIGKILL)
    script.join()
    assert isinstance(script.error, StateUnknown)
    assert (script.error.host, script.error.command) == ("spark-1", "echo *** >/dev/null")
    assert "reads the state first" in script.error.remedy
    with pytest.raises(Unreachable, match="did not run") as gone:
        connection.run("true")
    assert "()" not in gone.value.message
    connection.reconnect()
    connection.run(f"kill -9 {pid}", root=False)
    assert counts.connections == 2


def test_host_that_falls_silent_in_mid_command(
    other_server: StartServer, dial: Dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "PULSE", 0.2)
    monkeypatch.setattr(ssh, "SILENCE", 1.0)
    server = other_server()
    file = tmp_path / "pid"
    script = Running(dial(server.target()), f"echo $$ >{file}; exec sleep 300")
    pid = pid_in(file)
    server.signal_sessions(signal.SIGSTOP)
    try:
        script.join(10)
    finally:
        server.signal_sessions(signal.SIGCONT)
        os.kill(pid, signal.SIGKILL)
    assert isinstance(script.error, StateUnknown)
    assert "did not answer for 1 s" in script.error.message


def test_hold_and_release(server: Server, dial: Dial) -> None:
    connection = dial(server.target())
    held = connection.hold("echo locked; cat >/dev/null; exit 5")
    assert held.first_line == "locked"
    assert held.alive()
    assert connection.run("echo meanwhile").stdout == "meanwhile\n"
    assert held.release() == 5
    assert not held.alive()


def test_hold_of_a_script_that_ends(server: Server, dial: Dial) -> None:
    held = dial(server.target()).hold("exit 3")
    assert (held.first_line, held.release()) == ("", 3)


def test_a_held_script_ends_with_the_connection(server: Server, dial: Dial, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    connection = dial(server.target())
    held = connection.hold(f"echo locked; cat >/dev/null; echo yes >{gone}")
    connection.transport.sock.shutdown(socket.SHUT_RDWR)
    eventually(gone.exists)
    eventually(lambda: not held.alive())
    assert held.release() is None


def test_half_a_script_does_not_run(server: Server, dial: Dial, tmp_path: Path) -> None:
    done = dial(server.target()).run(f"touch {tmp_path}/ran\nif true; then")
    assert done.status == 2
    assert not (tmp_path / "ran").exists()


def test_login_files_that_talk(server: Server, dial: Dial, may_make_users: None) -> None:
    """What a login shell prints before the script is not part of its output."""
    home = server.folder / "talkative"
    home.mkdir()
    (home / ".bashrc").write_text("printf 'hello from bashrc'; printf 'and here' >&2\n")
    with temporary_user("ALL=(ALL) NOPASSWD: ALL", home) as user:
        done = dial(server.target(user=user.name)).run("echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "fish", "tcsh"])
def test_login_shells(server: Server, dial: Dial, free_sudoer: User, shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell} on this machine (apt install {shell})")
    subprocess.run(["usermod", "-s", path, free_sudoer.name], check=True)
    try:
        connection = dial(server.target(user=free_sudoer.name))
        script = 'id -u; echo "it\'s $((1 + 1))"; cat; exit 4'
        done = connection.run(script)
        assert (done.status, done.stdout) == (4, "0\nit's 2\n")
        assert connection.run(script, root=False).stdout != done.stdout
    finally:
        subprocess.run(["usermod", "-s", "/bin/bash", free_sudoer.name], check=True)


def test_one_connection_per_object(other_server: StartServer, dial: Dial) -> None:
    server = other_server()
    connection = dial(server.target())
    for _ in range(3):
        assert connection.run("true").ok
    assert len(established(server.port)) == 1
