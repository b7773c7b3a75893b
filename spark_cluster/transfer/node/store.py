"""The store of blobs that the models of a hub cache share: what a model alone holds of it.

huggingface_hub from 1.32 on keeps files there that the hub has in its Xet storage, and makes
`models--*/blobs/<etag>` a link to them (huggingface_hub/utils/_shared_blobs.py).
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

#: Files of the store that hub clients from 1.32 on share between models: `hub/blobs/<2 hex>/<xet
#: hash>`, beside each `.refs` with the blobs that link to it and `.lock`.
_STORED = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}")


def target_of(link: Path) -> Path:
    """Where a link leads. Not resolve(): a model's folder may have another name by now, the depth
    is the same; and the blob that a link leads to may be a link itself."""
    return Path(os.path.normpath(link.parent / link.readlink()))


def links(folder: Path, store: Path) -> set[Path]:
    """The store's files to which blobs of a model link."""
    found = set()
    for path in (folder / "blobs").glob("*"):
        if path.is_symlink():
            target = target_of(path)
            if target.is_relative_to(store) and _STORED.fullmatch(str(target.relative_to(store))):
                found.add(target)
    return found


def only_of(root: Path, doomed: Path) -> list[Path]:
    """The store's files to which no other model links."""
    mine = links(doomed, root / "blobs")
    for other in root.glob("*--*") if mine else ():
        mine -= links(other, root / "blobs") if other != doomed else set()
    return sorted(mine)


def release(root: Path, path: Path) -> int:
    """Remove a file of the store, unless a client has linked a model to it meanwhile: a client adds
    the link to `.refs` under the same lock. Gives the bytes that are free now."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), flags, 0o666)
    except OSError:
        return 0
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refs = path.with_name(f"{path.name}.refs")
        if path.is_symlink() or not path.is_file() or _is_linked(root, path, refs):
            return 0
        size = path.stat().st_size
        path.unlink()
        refs.unlink(missing_ok=True)
        return size
    finally:
        os.close(lock)


def _is_linked(root: Path, path: Path, refs: Path) -> bool:
    try:
        lines = refs.read_text(encoding="utf-8").splitlines() if refs.is_file() else []
    except (OSError, UnicodeDecodeError):
        return True
    blobs = (root / line for line in lines if ".." not in line.split("/"))
    return any(blob.is_symlink() and target_of(blob) == path for blob in blobs)
