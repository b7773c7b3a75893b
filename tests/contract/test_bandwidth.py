"""Servers of ib_write_bw over a real sshd: whatever ends, nothing of theirs is left running.

The stand-in for ib_write_bw listens as the real one does, on TCP, and then runs for ever.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from spark_cluster.rdma import perftest
from spark_cluster.transport.ssh import SshConnection

from .conftest import Dial, StartServer
from .sshd_server import Server, eventually, running

#: Names its process in $MARKS. As a server it listens; `-D 1` lets a client end with a table.
STANDIN = """\
#!{python}
import os, socket, sys, time, pathlib
words = sys.argv[1:]
peer = words[-1] if words[-1].count(".") == 3 else ""
port = int(words[words.index("-p") + 1])
kind = "client" if peer else "server"
pathlib.Path("{marks}", f"{{kind}}-{{os.getpid()}}").touch()
if "{ignore_term}" == "yes":
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "broken" in words:
    sys.exit("IB device broken not found")
if not peer:
    listener = socket.create_server(("127.0.0.1", port))
else:
    socket.create_connection(("127.0.0.1", port))
    if words[words.index("-D") + 1] == "1":
        print(" #bytes #iterations BW peak[Gb/sec] BW average[Gb/sec] MsgRate[Mpps]")
        print(" 65536 560845 0.00 98.02 0.186950")
        sys.exit(0)
while True:
    time.sleep(100)
"""


class Standin:
    """The stand-in on disk, and the processes that it became."""

    def __init__(self, folder: Path, *, ignore_term: bool = False) -> None:
        self.marks = folder / "marks"
        self.bin = folder / "bin"
        self.marks.mkdir()
        self.bin.mkdir()
        program = self.bin / perftest.PROGRAM
        program.write_text(
            STANDIN.format(
                python=sys.executable, marks=self.marks, ignore_term="yes" if ignore_term else ""
            )
        )
        program.chmod(0o755)

    @property
    def path(self) -> str:
        return f"{self.bin}:{os.environ['PATH']}"

    def pids(self, kind: str) -> list[int]:
        return [int(path.name.rpartition("-")[2]) for path in self.marks.glob(f"{kind}-*")]

    def running(self) -> list[int]:
        return [pid for pid in self.pids("*") if running(pid)]


@pytest.fixture
def standin(tmp_path: Path) -> Standin:
    tmp_path.chmod(0o755)
    return Standin(tmp_path)


PROGRAM = "from spark_cluster.cli.app import main; main()"

LANE = perftest.Lane("enp1s0f1np1", "rocep1s0f1", "rocep1s0f1", "127.0.0.1")


@pytest.fixture
def hosts(
    dial: Dial, other_server: StartServer, standin: Standin
) -> tuple[SshConnection, Server, Standin]:
    server = other_server(f"SetEnv PATH={standin.path}")
    return dial(server.target()), server, standin


Started = tuple[SshConnection, Server, Standin]


def folders() -> set[Path]:
    return set(Path("/tmp").glob("spark-cluster-bandwidth.*"))


@pytest.mark.contract
def test_server_and_client_meet_and_both_end(hosts: Started) -> None:
    connection, _, standin = hosts
    before = folders()
    held = connection.hold(perftest.server_script([LANE, LANE], 1), root=False)
    ready = perftest.ready(held.first_line)
    assert ready is not None, held.first_line
    assert len(set(ready[1])) == 2
    assert len(standin.pids("server")) == 2
    client = connection.hold(perftest.client_script([LANE, LANE], ready[1], 1), root=False)
    started = perftest.ready(client.first_line)
    assert started is not None
    done = connection.run(perftest.result_script(*started), root=False, timeout=30)
    client.release()
    outputs = perftest.sections(done.stdout, 2)
    assert [output.measured.gbits for output in outputs if output.measured] == [98.02, 98.02]
    held.release()
    assert not standin.running()
    eventually(lambda: folders() == before)


@pytest.mark.contract
def test_a_port_in_use_is_passed_over(hosts: Started) -> None:
    connection, _, _ = hosts
    first = connection.hold(perftest.server_script([LANE], 1), root=False)
    second = connection.hold(perftest.server_script([LANE], 1), root=False)
    ports = [perftest.ready(held.first_line) for held in (first, second)]
    assert ports[0] and ports[1]
    assert ports[0][1] != ports[1][1]
    first.release()
    second.release()


@pytest.mark.contract
def test_a_server_that_does_not_start_says_why_at_once(hosts: Started) -> None:
    connection, _, standin = hosts
    begun = time.monotonic()
    lane = perftest.Lane("x", "broken", "broken", "127.0.0.1")
    held = connection.hold(perftest.server_script([lane], 1), root=False)
    assert held.first_line.strip() == "failed IB device broken not found"
    assert time.monotonic() - begun < perftest.LISTEN_SECONDS / 2
    held.release()
    assert not standin.running()


@pytest.mark.contract
@pytest.mark.parametrize("how", ["close", "lost", "released"])
def test_both_sides_end_with_our_connection(hosts: Started, how: str) -> None:
    connection, server, standin = hosts
    before = folders()
    held = connection.hold(perftest.server_script([LANE], 500), root=False)
    ready = perftest.ready(held.first_line)
    assert ready
    client = connection.hold(perftest.client_script([LANE], ready[1], 500), root=False)
    assert perftest.ready(client.first_line)
    eventually(lambda: len(standin.running()) == 2)
    if how == "close":
        connection.close()
    elif how == "lost":
        server.signal_sessions(signal.SIGKILL)
    else:
        client.release()
        held.release()
        assert not standin.running()
    eventually(lambda: not standin.running())
    eventually(lambda: folders() == before)


@pytest.mark.contract
def test_one_that_ignores_term_is_killed(
    dial: Dial, other_server: StartServer, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "deaf").mkdir()
    standin = Standin(tmp_path / "deaf", ignore_term=True)
    connection = dial(other_server(f"SetEnv PATH={standin.path}").target())
    held = connection.hold(perftest.server_script([LANE], 600), root=False)
    assert perftest.ready(held.first_line)
    connection.close()
    eventually(lambda: not standin.running(), 15)


INVENTORY = """\
ssh: {{config: ssh_config, known_hosts: known_hosts}}
hosts:
  spark-2:
    rails: [{{interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.10/24}}]
  spark-3:
    rails: [{{interface: enp1s0f1np1, device: rocep1s0f1, address: 192.168.100.11/24}}]
"""


def command(servers: Sequence[Server], folder: Path, seconds: int) -> subprocess.Popen[str]:
    """The whole program, over two hosts that are both this machine."""
    (folder / "sparks.yaml").write_text(INVENTORY.format())
    (folder / "known_hosts").write_text("".join(server.host_key() for server in servers))
    (folder / "ssh_config").write_text(
        "".join(
            f"Host spark-{number}\n  HostName 127.0.0.1\n  Port {server.port}\n"
            f"  IdentityFile {server.client_key}\n  IdentitiesOnly yes\n"
            for number, server in enumerate(servers, 2)
        )
    )
    arguments = ["verify-rdma", "--probe", "--duration", str(seconds), "--json", "-i"]
    environment = {**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    environment.pop("SSH_AUTH_SOCK", None)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments, str(folder / "sparks.yaml")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


#: Both hosts are this machine and would want the same lock: this one has a /run of its own.
OWN_RUN = """\
#!/bin/sh
mount -t tmpfs none /run && exec sh -c "$SSH_ORIGINAL_COMMAND"
"""


@pytest.fixture
def two_hosts(other_server: StartServer, standin: Standin, tmp_path: Path) -> list[Server]:
    may = os.geteuid() == 0 and shutil.which("unshare")
    if not may or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("a host with its own /run needs root and mount namespaces")
    forced = tmp_path / "own-run"
    forced.write_text(OWN_RUN)
    forced.chmod(0o755)
    path = f"SetEnv PATH={standin.path}"
    return [other_server(path), other_server(path, f"ForceCommand unshare -m {forced}")]


@pytest.mark.contract
@pytest.mark.parametrize("how", ["ctrl-c", "killed"])
def test_nothing_runs_on_when_the_program_is_ended(
    how: str, two_hosts: list[Server], standin: Standin, tmp_path: Path
) -> None:
    program = command(two_hosts, tmp_path, 500)
    try:
        eventually(lambda: standin.pids("client") or program.poll() is not None, 40)
        assert program.poll() is None, program.stdout and program.stdout.read()
        if how == "ctrl-c":
            program.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert program.poll() is None, "the first Ctrl-C waits for the command in flight"
            program.send_signal(signal.SIGINT)
        else:
            program.kill()
        out, _ = program.communicate(timeout=40)
        if how == "ctrl-c":
            assert program.returncode == 130, out
            assert json.loads(out.splitlines()[-1])["error"]["kind"] == "Interrupted"
        eventually(lambda: not standin.running(), 15)
    finally:
        if program.poll() is None:
            program.kill()
        for pid in standin.running():
            os.kill(pid, signal.SIGKILL)
