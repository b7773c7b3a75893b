"""The cache: folders named by the hash of what went into them, built whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from spark_cluster.lab import qmp
from spark_cluster.places import cache_dir

Say = Callable[[str], None]
RECENT = 3600.0


def root() -> Path:
    path = cache_dir() / "lab"
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, by name, with the hash of its content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def write_json(path: Path, value: object) -> None:
    """Whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value, indent=2) + "\n")
    new.replace(path)


def note(name: str, value: Mapping[str, object]) -> None:
    """Remember something that was found out about this machine."""
    write_json(root() / f"{name}.json", value)


def noted(name: str) -> dict[str, Any]:
    """What was remembered last; nothing if it cannot be read."""
    with suppress(OSError, ValueError):
        found = json.loads((root() / f"{name}.json").read_text())
        return found if isinstance(found, dict) else {}
    return {}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder; the lock lives in the kernel only and leaves no file."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def existing(kind: str, key: str) -> Path | None:
    folder = root() / f"{kind}-{key}"
    return folder if folder.is_dir() else None


def layer(kind: str, key: str, build: Callable[[Path], None], say: Say) -> Path:
    """The folder of that kind and key, built if it is not there; two builders make it once."""
    folder = root() / f"{kind}-{key}"
    while not folder.is_dir():
        work = root() / f"tmp-{kind}-{key}"
        work.mkdir(mode=0o755, exist_ok=True)
        with _held(
            work, lambda: say(f"another process builds {folder.name}: waiting for it")
        ) as ok:
            if not ok:
                continue  # it was finished or given up while we waited
            try:
                qmp.quit_all(work)
                for left in work.iterdir():  # by a builder that was killed, like those machines
                    remove(left)
                build(work)
                give_to_owner(work)
                work.rename(folder)
            finally:
                remove(work)
    return folder


@contextmanager
def _held(work: Path, wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold a folder under construction; False if it is another one or none by then. While another
    process holds it: `wait` is called, and then it is waited for; without `wait` it is False."""
    try:
        handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                yield False
                return
            wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield work.is_dir() and work.stat().st_ino == os.fstat(handle).st_ino
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Delete, after taking out what an interrupted debootstrap left mounted (/proc, /sys)."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{path}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def give_to_owner(folder: Path) -> None:
    """What root builds in a user's cache belongs to that user, who is to run it without root."""
    owner = cache_dir().parent.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return
    for path in (root().parent, root(), *root().glob("*.json"), folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def tidy(kept: Collection[Path]) -> None:
    """Drop older layers of the same kinds, and what killed builders left.

    The cache may serve several labs: what a machine has open stays, and what was made or used
    within the last hour, for its machines may be about to start.
    """
    opened = open_files()
    for folder in kept:
        os.utime(folder)
        for old in root().glob(f"{folder.name.partition('-')[0]}-*"):
            recent = time.time() - old.stat().st_mtime < RECENT
            used = any(path.startswith(f"{old}/") for path in opened)
            if old not in kept and not recent and not used:
                shutil.rmtree(old, ignore_errors=True)
    for work in root().glob("tmp-*"):
        with _held(work) as ours:
            if ours:
                qmp.quit_all(work)
                remove(work)


def open_files() -> set[str]:
    """Every file that a process which we may look at has open."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process ended, or is another user's
            for link in (process / "fd").iterdir():
                with suppress(OSError):
                    found.add(str(link.readlink()))
    return found


def purge() -> None:
    shutil.rmtree(root(), ignore_errors=True)
