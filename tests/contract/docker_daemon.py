"""A real dockerd of the test's own: its socket, its store and its processes below one folder.

$SPARK_CLUSTER_DOCKERD names the program where it is not on the PATH; it runs as root, in a mount
namespace, without a network of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .sshd_server import eventually


def why_not() -> str:
    """Why there can be none here; empty if there can."""
    if os.geteuid() != 0:
        return "dockerd wants root"
    return "" if _program() and shutil.which("docker") else "dockerd and docker are not both here"


def _program() -> str | None:
    return os.environ.get("SPARK_CLUSTER_DOCKERD") or shutil.which("dockerd")


@dataclass(frozen=True)
class Daemon:
    """`address` is what DOCKER_HOST says."""

    folder: Path

    @property
    def address(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def docker(self, *words: str, given: bytes = b"") -> bytes:
        """What docker's own command line prints."""
        env = {**os.environ, "DOCKER_HOST": self.address}
        done = subprocess.run(["docker", *words], env=env, input=given, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def images(self) -> list[dict[str, Any]]:
        """Every image, as docker tells of it."""
        ids = self.docker("image", "ls", "--all", "--quiet", "--no-trunc").decode().split()
        return json.loads(self.docker("image", "inspect", *sorted(set(ids)))) if ids else []

    def leftovers(self) -> list[Path]:
        """What a pull that did not end left in the store: parts of downloads, and layers."""
        data = self.folder / "data"
        return [*(data / "tmp").glob("*"), *(data / "vfs/dir").glob("*")]


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    """dockerd, for as long as the context lasts."""
    daemon = Daemon(folder)
    program = _program()
    assert program is not None
    beside = str(Path(program).parent)
    env = {**os.environ, "PATH": f"{beside}:{Path(beside).parent / 'bin'}:{os.environ['PATH']}"}
    words = [
        "unshare", "--mount", program, "--host", daemon.address, "--data-root", f"{folder}/data",
        "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid", "--storage-driver", "vfs",
        "--bridge", "none", "--iptables=false", "--ip6tables=false",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, env=env, stdout=log, stderr=log)
    try:
        eventually(lambda: (folder / "docker.sock").exists() and _answers(daemon), seconds=40)
        yield daemon
    finally:
        process.terminate()
        process.wait(20)


def _answers(daemon: Daemon) -> bool:
    env = {**os.environ, "DOCKER_HOST": daemon.address}
    return subprocess.run(["docker", "info"], env=env, capture_output=True).returncode == 0
