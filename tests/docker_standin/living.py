"""Containers come and go: run, start, exec, stop, kill, rm."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from .containers import ROOT, Container, Refused, find

#: The container's mounts, then its command in place of this shell. A mount point that is missing
#: is made: the root is the host's.
_BOOT = r"""
set -e
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
while [ "$1" != -- ]; do
  mkdir -p "${2%/*}"
  if [ -d "$1" ]; then mkdir -p "$2"; else [ -e "$2" ] || : >"$2"; fi
  mount --bind "$1" "$2"
  shift 2
done
shift
cd /
exec "$@" 2>&1
"""

_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

#: Options of `docker run` that take a value and change nothing here.
_TAKEN = ("--network", "--ipc", "--shm-size", "--device", "--cap-add", "--ulimit", "--restart")


def now() -> str:
    at = time.time_ns()
    return f"{datetime.fromtimestamp(at // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{at % 10**9:09d}Z"


def run(words: list[str]) -> int:
    parser = parser_of("run")
    parser.add_argument("--detach", "-d", action="store_true", required=True)
    for option in ("--name", "--entrypoint", "--gpus", "--env-file"):
        parser.add_argument(option, default="")
    for option in _TAKEN:
        parser.add_argument(option, action="append")
    for option in ("--label", "--env", "--volume"):
        parser.add_argument(option, option[1:3], action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    folder = ROOT / given.name
    if folder.exists():
        raise Refused(f'Conflict. The container name "/{given.name}" is already in use')
    env = _pairs(given.env)
    if given.env_file:
        env |= _pairs(Path(given.env_file).read_text().split())
    if given.gpus:
        env["NVIDIA_VISIBLE_DEVICES"] = given.gpus
    spec = {
        "id": hashlib.sha256(f"{given.name} {time.time_ns()}".encode()).hexdigest(),
        "name": given.name,
        "image": given.image,
        "labels": _pairs(given.label),
        "env": env,
        "command": [*([given.entrypoint] if given.entrypoint else []), *given.command],
        "mounts": [entry.split(":")[:2] for entry in given.volume],
    }
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(spec))
    start([given.name], says=str(spec["id"]))
    return 0


def _pairs(entries: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (entry.partition("=") for entry in entries)}


def start(names: list[str], says: str = "") -> int:
    for name in names:
        container = find(name)
        if not container.is_running:
            for old in ("pid", "exit", "finished"):
                (container.folder / old).unlink(missing_ok=True)
            _detach(container)
        print(says or name)
    return 0


def _until(true: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)


def _detach(container: Container) -> None:
    """A process of its own that stays with the container's."""
    if os.fork():
        os.wait()
        _until(lambda: container.read("pid"), 10)
        return
    os.setsid()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        supervise(container)
    os._exit(0)


def environment(container: Container) -> dict[str, str]:
    image = os.environ.get("DOCKER_IMAGE")
    base = json.loads(Path(image).read_text()) if image else dict(os.environ)
    return {**base, "HOSTNAME": os.uname().nodename, **container.spec["env"]}


def supervise(container: Container) -> None:
    folder = container.folder
    always = (entry.split(":") for entry in os.environ.get("DOCKER_MOUNTS", "").split())
    pairs = [*container.spec["mounts"], *(pair for pair in always if Path(pair[0]).exists())]
    mounts = [word for pair in pairs for word in pair]
    reading, writing = os.pipe()
    with (folder / "boot").open("wb") as problems:
        child = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _BOOT, "sh", *mounts, "--", *container.spec["command"]],
            stdin=subprocess.DEVNULL, stdout=writing, stderr=problems, env=environment(container),
        )  # fmt: skip
    os.close(writing)
    first = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    _until(lambda: child.poll() is not None or first.read_text().split(), 10)
    with contextlib.suppress(OSError, IndexError):
        _put(folder / "started", now())
        _put(folder / "pid", first.read_text().split()[0])
    with os.fdopen(reading, "rb", buffering=0) as pipe, (folder / "log").open("ab") as log:
        rest = b""
        while data := pipe.read(65536):
            *whole, rest = (rest + data).split(b"\n")
            stamp = now().encode()
            log.write(b"".join(b"%s %s\n" % (stamp, line) for line in whole))
            log.flush()
        if rest:
            log.write(b"%s %s\n" % (now().encode(), rest))
    code = child.wait()
    if b"sigprocmask" in (folder / "boot").read_bytes():  # unshare(1) cannot die of KILL as well
        code = -signal.SIGKILL
    _put(folder / "finished", now())
    _put(folder / "exit", str(code if code >= 0 else 128 - code))


def _put(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def execute(words: list[str]) -> int:
    parser = parser_of("exec")
    parser.add_argument("--detach", "-d", action="store_true")
    parser.add_argument("--interactive", "-i", action="store_true")
    parser.add_argument("--env", "-e", action="append", default=[])
    parser.add_argument("name")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    container = find(given.name)
    if not container.is_running:
        raise Refused(f"Error response from daemon: container {container.id} is not running")
    if "command" not in container.spec:  # made by others: the host itself is its namespaces
        os.execvp(given.command[0], given.command)
    env = environment(container) | _pairs(given.env)
    enter = ("nsenter", "--target", container.read("pid"), "--mount", "--pid", "--wd=/", "--")
    command = [*enter, *given.command]
    if not given.detach:
        return subprocess.run(command, env=env, check=False).returncode
    subprocess.Popen(
        command, env=env, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return 0


def end(verb: str, words: list[str]) -> int:
    """stop, kill, rm."""
    parser = parser_of(verb)
    parser.add_argument("-t", "--time", type=int, default=10)
    parser.add_argument("-f", "--force", action="store_true")
    parser.add_argument("--volumes", action="store_true")
    parser.add_argument("names", nargs="+")
    given = parser.parse_args(words)
    for name in given.names:
        container = find(name)
        if verb != "rm" or given.force:
            if verb == "stop":
                _signal(container, signal.SIGTERM, given.time)
            _signal(container, signal.SIGKILL, 10)
        if verb == "rm":
            if container.is_running:
                raise Refused(f"cannot remove container {name}: container is running")
            shutil.rmtree(container.folder)
        print(name)
    return 0


def _signal(container: Container, number: int, seconds: float) -> None:
    """To its first process, and wait for its end."""
    if container.is_running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(container.read("pid")), number)
        _until(lambda: not container.is_running, seconds)


def parser_of(verb: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"docker {verb}", allow_abbrev=False)
