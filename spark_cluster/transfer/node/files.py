"""What the programs on the nodes share: hashes, partial files, reports, and how busy a node is."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

#: Bytes that are read, hashed and written at once: large enough that Python's own time is small.
CHUNK = 1024 * 1024

#: Ends the name of a file that is not whole yet. Whatever knows the hub's cache, our own preflight
#: too, takes `*.incomplete` for a download that is not finished.
PARTIAL = ".spark-cluster.incomplete"

#: In a model's folder: a file for each commit that is being brought there, with the blobs that it
#: needs, a line each. Other commits are not the less complete for what is still missing of it.
UNFINISHED = ".spark-cluster-unfinished"

#: Bytes that the disk must have left beyond the files.
_SPARE = 1024**3

#: How the hub names what a blob holds: large files by their sha256, small ones as git does.
SHA256, GIT = "sha256", "git"
_BLOB = {64: SHA256, 40: GIT}


@dataclass(frozen=True)
class File:
    """A file of a model, by its path in the model's folder, and what it must hold.

    `kind` is SHA256 or GIT, `digest` the hash in hexadecimal digits.
    """

    path: str
    size: int
    kind: str
    digest: str


class Failed(Exception):
    """The end of a program; `reason` is one of transfer/failures.py."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def kind_of(blob: str) -> str | None:
    """Which hash a blob's name is; None for a name that is none."""
    return _BLOB.get(len(blob)) if re.fullmatch(r"[0-9a-f]+", blob) else None


def has(path: Path, size: int) -> bool:
    """Whether there is a file of this size."""
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def hasher(kind: str, size: int) -> Any:
    """An empty hash of hashlib for a file of `size` bytes."""
    if kind == SHA256:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def read_into(path: Path, hash_: Any, limit: int, stop: Callable[[int], bool]) -> None:
    """Add the first `limit` bytes of a file to a hash. `stop` is told of every piece."""
    buffer = memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        left = limit
        while left > 0:
            count = file.readinto(buffer[: min(CHUNK, left)])
            if not count:
                return
            hash_.update(buffer[:count])
            left -= count
            if stop(count):
                return


def digest(path: Path, kind: str, size: int, stop: Callable[[int], bool]) -> str:
    """The hash of a file's first `size` bytes. `stop` is told of every piece."""
    found = hasher(kind, size)
    read_into(path, found, size, stop)
    return str(found.hexdigest())


def need_room(root: Path, need: int) -> None:
    """Raises Failed if the disk of `root` has no room for `need` bytes, and some to spare."""
    disk = os.statvfs(root)
    free = disk.f_bavail * disk.f_frsize
    if need + _SPARE > free:
        raise Failed("space", f"{need} bytes are needed and {free} are free below {root}")


def home(path: str) -> Path:
    """A path of the node; `~/` is the SSH user's home, also under sudo (facts/probe.py)."""
    if path.startswith("~/"):
        return Path(os.environ["SPARK_HOME"]) / path[2:]
    return Path(path)


def model_folder(hub: Path, model: str) -> Path:
    """Where the hub's cache keeps a model."""
    return hub / f"models--{model.replace('/', '--')}"


def user() -> pwd.struct_passwd:
    """The SSH user, also under sudo."""
    return pwd.getpwnam(os.environ["SPARK_USER"])


def give_to_user(folder: Path) -> None:
    """Make `folder` if it is missing, and the SSH user's with all that is in it.

    Files that root or a container left in a cache are what later downloads stumble over.
    """
    missing = [path for path in folder.parents if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*missing, folder, *folder.rglob("*")) if os.geteuid() == 0 else ():
        if path.lstat().st_uid != user().pw_uid:
            os.chown(path, user().pw_uid, user().pw_gid, follow_symlinks=False)


def become_user() -> None:
    """Go on as the SSH user."""
    if os.geteuid() == 0:
        os.initgroups(user().pw_name, user().pw_gid)
        os.setgid(user().pw_gid)
        os.setuid(user().pw_uid)
    os.chdir("/")
    os.environ["HOME"] = user().pw_dir


def as_user() -> dict[str, Any]:
    """For subprocess.Popen: the child is the SSH user's, whose keys and known hosts it finds."""
    if os.geteuid() != 0:
        return {}
    who = user()
    return {
        "user": who.pw_uid,
        "group": who.pw_gid,
        "extra_groups": os.getgrouplist(who.pw_name, who.pw_gid),
        "cwd": "/",
        "env": {**os.environ, "HOME": who.pw_dir, "USER": who.pw_name, "LOGNAME": who.pw_name},
    }


def put_link(path: Path, target: str) -> bool:
    """A symlink, in place of whatever was there, in one step; whether it was not there before."""
    if path.is_symlink() and str(path.readlink()) == target:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + PARTIAL)
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
    return True


def to_disk(path: Path) -> None:
    """What a file holds survives a power cut from now on, whoever wrote it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def put_text(path: Path, text: str) -> bool:
    """A small file, in the same way."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + PARTIAL)
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return True


# Reports

_printing = threading.Lock()
_ended = threading.Event()


def report(**fields: Any) -> None:
    """Print one line for the controller; nothing comes after the end."""
    with _printing:
        if not _ended.is_set():
            print(json.dumps(fields), flush=True)  # noqa: T201
        if "done" in fields or "failed" in fields:
            _ended.set()


def last_lines(said: bytes, count: int = 1) -> str:
    """What a program said last; empty if it said nothing."""
    return "\n".join(said.decode(errors="replace").strip().splitlines()[-count:])


def every_second(tell: Callable[[], dict[str, Any]]) -> None:
    """Report what `tell` gives each second, for as long as the program runs."""

    def beat() -> None:
        while True:
            time.sleep(1)
            report(**tell())

    threading.Thread(target=beat, daemon=True).start()


def main(commands: dict[str, Callable[..., None]]) -> NoReturn:
    """Run the command that the arguments name with the job in the file that they name.

    Ends at once: a thread that waits for the network must not keep the program.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    name, path = sys.argv[1:3]
    status = 0
    try:
        commands[name](**json.loads(Path(path).read_text(encoding="utf-8")))
    except Failed as failed:
        report(failed=str(failed), reason=failed.reason)
        status = 1
    except OSError as error:
        report(failed=str(error), reason="disk")
        status = 1
    sys.stdout.flush()
    os._exit(status)


# How busy a node is


class Progress:
    """Bytes of a phase, told now and every second from now on; any thread may add some."""

    def __init__(self, phase: str, total: int) -> None:
        self.bytes = 0
        self._lock = threading.Lock()

        def so_far() -> dict[str, Any]:
            return {"phase": phase, "bytes": self.bytes, "total": total}

        report(**so_far())
        every_second(so_far)

    def add(self, count: int) -> bool:
        """Never a reason to stop."""
        with self._lock:
            self.bytes += count
        return False


class Usage:
    """This process's CPU time, and the work of the disk below a folder, from its making on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._began = time.monotonic()
        self._cpu = time.process_time()
        self._disk = _disk(folder)

    def so_far(self) -> dict[str, float | None]:
        """`cpu`: cores kept busy. `disk`: share of the time in which the disk had work. `read` and
        `written`: bytes a second. None where the kernel counts nothing for this file system."""
        seconds = max(time.monotonic() - self._began, 1e-6)
        cpu = (time.process_time() - self._cpu) / seconds
        now = _disk(self.folder)
        if now is None or self._disk is None:
            return {"cpu": cpu, "disk": None, "read": None, "written": None}
        read, written, busy = (b - a for a, b in zip(self._disk, now))  # noqa: B905
        return {
            "cpu": cpu,
            "disk": min(1.0, busy / 1000 / seconds),
            "read": read * 512 / seconds,
            "written": written * 512 / seconds,
        }


def _disk(folder: Path) -> tuple[int, int, int] | None:
    """Sectors of 512 bytes read and written, and milliseconds with work (kernel: iostats.rst)."""
    while not folder.exists():
        folder = folder.parent
    device = folder.stat().st_dev
    wanted = [str(os.major(device)), str(os.minor(device))]
    try:
        lines = Path("/proc/diskstats").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for words in map(str.split, lines):
        if words[:2] == wanted and len(words) > 12:
            return int(words[5]), int(words[9]), int(words[12])
    return None
