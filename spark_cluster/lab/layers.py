"""The cache: folders named by the hash of what went into them, built whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spark_cluster.places import cache_dir

Say = Callable[[str], None]


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


def layer(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of that kind and key, built if it is not there. Older ones of the kind go."""
    folder = root() / f"{kind}-{key}"
    if folder.is_dir():
        return folder
    with locked(root()):
        if folder.is_dir():
            return folder
        for left in root().glob("tmp-*"):  # whoever made it does not hold the lock: it crashed
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix="tmp-", dir=root()))
        try:
            work.chmod(0o755)
            build(work)
            for old in root().glob(f"{kind}-*"):
                shutil.rmtree(old, ignore_errors=True)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def purge() -> None:
    with locked(root()):
        shutil.rmtree(root(), ignore_errors=True)
