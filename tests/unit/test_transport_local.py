"""Scripts on this machine, and the ssh_config reader."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from spark_cluster.transport import ssh_config
from spark_cluster.transport.local import connect
from spark_cluster.transport.protocol import Become, Completed, Connector, Target

needs_timeout = pytest.mark.skipif(
    shutil.which("timeout") is None, reason="no timeout(1) on this machine (coreutils)"
)


def run(script: str, timeout: float = 20.0) -> Completed:
    connector: Connector = connect
    return connector(Target("me", "local"), Become()).run(script, root=False, timeout=timeout)


@needs_timeout
def test_status_streams_and_input() -> None:
    done = run("cat; echo out; printf 'e\\377' >&2; exit 3")
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "e\ufffd")


@needs_timeout
def test_big_output() -> None:
    done = run("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")
    assert (len(done.stdout), len(done.stderr)) == (3_000_000, 3_000_000)


@needs_timeout
def test_big_script() -> None:
    """Half a megabyte of few commands: Ubuntu's dash dies of 100 000 of them in one script."""
    line = f": {'x' * 100}\n"
    assert run(line * 5_000 + "echo end").stdout == "end\n"


@needs_timeout
def test_time_limit() -> None:
    done = run("echo begun; exec sleep 60", 0.3)
    assert done.timed_out
    assert done.stdout == "begun\n"


@needs_timeout
def test_hold() -> None:
    held = connect(Target("me", "local"), Become()).hold(
        "echo locked; cat >/dev/null; exit 4", root=False
    )
    assert (held.first_line, held.alive()) == ("locked", True)
    assert held.release() == 4
    assert held.release() == 4


@needs_timeout
def test_abort(tmp_path: Path) -> None:
    connection = connect(Target("me", "local"), Become())
    begun = threading.Event()
    results: list[Completed] = []

    def work() -> None:
        def line(_: str) -> None:
            begun.set()

        script = "echo begun; sleep 60"
        results.append(connection.run(script, root=False, timeout=60, on_line=line))

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(10)
    connection.abort()
    thread.join(20)
    assert [done.status for done in results] == [143]


@needs_timeout
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, or sudo without a password")
def test_root() -> None:
    assert connect(Target("me", "local"), Become()).run("id -u").stdout == "0\n"


def test_ssh_config_include(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".ssh" / "config.d"
    folder.mkdir(parents=True)
    (folder / "a").write_text("Host a\n  User ann\n")
    (folder / "b").write_text("Host b\n  User bob\nInclude config.d/b\n")
    config = tmp_path / ".ssh" / "config"
    config.write_text("Include config.d/*\nPort 2222\nHost c\n  User cyd\n  include=nothing\n")
    lines = [line.strip() for line in ssh_config.text_of([config, tmp_path / "no"]).splitlines()]
    kept = [line for line in lines if line]
    assert kept[:3] == ["Host *", "Host a", "User ann"]
    assert kept[kept.index("Port 2222") - 1] == "Host *"
    assert kept.count("User cyd") == 1
