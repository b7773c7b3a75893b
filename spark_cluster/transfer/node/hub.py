"""The Hugging Face cache of this node: `list` what it holds, `verify` its hashes, `remove`.

Three layouts of huggingface_hub: a snapshot's link leads to `blobs/<etag>`, which is a file; from
1.32 on that may be a link into the store that all models share, `hub/blobs/<2 hex>/<xet hash>`; and
without symlinks (HF_HUB_DISABLE_SYMLINKS) the snapshot holds the files themselves. The etag is a
file's hash, the xet hash is of another kind.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from spark_cluster.transfer.node import files, store
from spark_cluster.transfer.node.files import Failed, File, report

_INDEXES = ("*.safetensors.index.json", "*.bin.index.json")


def list_models(caches: list[str]) -> None:
    """Report every model in these folders, one line each. Two that are one folder are read once."""
    seen = set()
    for cache in caches:
        root = files.home(cache) / "hub"
        if root.resolve() in seen:
            continue
        seen.add(root.resolve())
        for folder in sorted(root.glob("models--*")):
            if folder.is_dir():
                report(**_model(folder), cache=cache)
    report(done={"caches": caches})


def _model(folder: Path) -> dict[str, Any]:
    user = os.environ.get("SPARK_USER", "")
    blobs = list((folder / "blobs").glob("*"))
    unfinished = _unfinished(folder)
    plain = {path: size for path in _plain(folder) if (size := _size(path)) is not None}
    awaited = set().union(*unfinished.values())
    there = {path.name for path in blobs if path.exists()}
    return {
        "model": folder.name.removeprefix("models--").replace("--", "/"),
        "path": str(folder),
        "refs": {
            str(path.relative_to(folder / "refs")): path.read_text(encoding="utf-8").strip()
            for path in sorted((folder / "refs").rglob("*"))
            if path.is_file() and not path.name.endswith(files.PARTIAL)
        },
        "snapshots": [
            {
                "revision": path.name,
                "files": _entries(folder, path),
                "weights": sorted(_weights(path)),
            }
            for path in sorted((folder / "snapshots").glob("*"))
        ],
        "unfinished": sorted(commit for commit, needs in unfinished.items() if needs - there),
        "partial": sorted(
            path.name
            for path in blobs
            if path.name.endswith(".incomplete") and path.name.partition(".")[0] not in awaited
        ),
        "dangling": sum(path.is_symlink() and not path.exists() for path in blobs),
        "size": sum(_size(path) or 0 for path in blobs) + sum(plain.values()),
        "foreign": sum(_owner(path) != user for path in (folder, *blobs)) if user else 0,
    }


def _files(snapshot: Path) -> Iterator[Path]:
    for path in sorted(snapshot.rglob("*")):
        if path.is_symlink() or path.is_file():
            yield path


def _entries(folder: Path, snapshot: Path) -> list[list[Any]]:
    """Of each file its path in the snapshot, its hash as blobs are named (empty: not known), its
    size."""
    digests = listed(folder, snapshot.name)
    found = []
    for path in _files(snapshot):
        name, size, blob = str(path.relative_to(snapshot)), _size(path), ""
        if path.is_symlink():
            target = store.target_of(path)
            blob = target.name if target.parent == folder / "blobs" else ""
        elif digests.get(name, ("", None))[1] == size:
            blob = digests[name][0]
        found.append([name, blob, size])
    return found


def listed(folder: Path, commit: str) -> dict[str, tuple[str, int]]:
    """Hash and size of a commit's files, as the client noted what the hub said of them; nothing
    from an older client, or in a format that is not known."""
    try:
        said = json.loads((folder / "trees" / f"{commit}.json").read_text(encoding="utf-8"))
        files_ = said["files"] if said["format_version"] == 1 else {}
        found = {
            str(name): (str(one.get("lfs_sha256") or one["blob_id"]), int(one["size"]))
            for name, one in files_.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: one for name, one in found.items() if files.kind_of(one[0])}


def _plain(folder: Path) -> Iterator[Path]:
    """The files that stand in snapshots themselves, without a link."""
    for snapshot in (folder / "snapshots").glob("*"):
        for path in _files(snapshot):
            if not path.is_symlink():
                yield path


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _owner(path: Path) -> str:
    try:
        return path.lstat() and path.owner()
    except (OSError, KeyError):
        return ""


def _weights(snapshot: Path) -> set[str]:
    """The weight files that an index names; those of other formats only if there is no other."""
    for pattern in _INDEXES:
        found: set[str] = set()
        for index in snapshot.rglob(pattern):
            try:
                names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (OSError, ValueError, KeyError, AttributeError):
                continue
            found |= {str((index.parent / name).relative_to(snapshot)) for name in names}
        if found:
            return found
    return set()


# Hashes


def check(root: Path, wanted: list[File]) -> dict[str, Any]:
    """Hash these files and report progress meanwhile. On several threads: hashlib lets go of
    Python's lock, so they run at once. `bad`: those that are not what they should be, and why."""
    usage = files.Usage(root)
    progress = files.Progress("verify", sum(file.size for file in wanted))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        largest_first = sorted(wanted, key=lambda file: -file.size)
        found = pool.map(lambda file: (file.path, _wrong(root, file, progress)), largest_first)
        bad = [[path, why] for path, why in found if why is not None]
    return {"files": len(wanted), "bytes": progress.bytes, "bad": bad, "usage": usage.so_far()}


def _wrong(root: Path, file: File, progress: files.Progress) -> str | None:
    """Why a file is not what it should be; None if it is."""
    path = root / file.path
    try:
        size = path.stat().st_size
        if size != file.size:
            return f"{size} bytes instead of {file.size}"
        found = files.digest(path, file.kind, size, progress.add)
    except OSError as error:
        return error.strerror or str(error)
    return None if found == file.digest else f"its {file.kind} hash is {found[:12]}…"


def blobs_of(folder: Path) -> list[File]:
    """Every blob whose name is a hash."""
    found = []
    for path in sorted((folder / "blobs").glob("*")):
        kind = files.kind_of(path.name)
        if kind:
            found.append(File(f"blobs/{path.name}", _size(path) or 0, kind, path.name))
    return found


def plain_of(folder: Path) -> tuple[list[File], list[str]]:
    """The files without a link whose hash the client noted, and those of which nothing is known."""
    found, unknown = [], []
    for snapshot in sorted((folder / "snapshots").glob("*")):
        digests = listed(folder, snapshot.name)
        for path in _files(snapshot):
            if path.is_symlink():
                continue
            name, at = str(path.relative_to(snapshot)), str(path.relative_to(folder))
            if name in digests:
                digest, size = digests[name]
                found.append(File(at, size, files.kind_of(digest) or "", digest))
            else:
                unknown.append(at)
    return found, unknown


def verify(folder: str) -> None:
    """Hash every blob of a model and compare with its name; what stands in a snapshot without a
    link, with what the hub said of it. `unknown` of the report: files that nothing is known of."""
    root = files.home(folder)
    plain, unknown = plain_of(root)
    wanted = [*blobs_of(root), *plain]
    if not wanted and not unknown:
        raise Failed("missing", f"there are no files in {root}")
    report(done={**check(root, wanted), "unknown": len(unknown)})


def identify(folder: str, commit: str) -> None:
    """Report the sha256 of each file of a commit that nothing names by its hash."""
    root = files.home(folder)
    snapshot = root / "snapshots" / commit
    nameless = {name: size for name, blob, size in _entries(root, snapshot) if not blob and size}
    progress = files.Progress("verify", sum(nameless.values()))
    digests = {
        name: files.digest(snapshot / name, files.SHA256, size, progress.add)
        for name, size in nameless.items()
    }
    report(done={"digests": digests})


# Bringing a commit


def begin(folder: Path, commit: str, digests: Iterable[str]) -> None:
    """Note that a commit is being brought, and the blobs that it needs."""
    files.put_text(folder / files.UNFINISHED / commit, "".join(f"{one}\n" for one in digests))


def end(folder: Path, commit: str) -> None:
    """All files of the commit are there, and on the disk."""
    note = folder / files.UNFINISHED / commit
    note.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # there is none, or others are being brought
        note.parent.rmdir()


def _unfinished(folder: Path) -> dict[str, set[str]]:
    """The commits that are being brought, and the blobs that they need. Another program may have
    brought these meanwhile."""
    found: dict[str, set[str]] = {}
    for path in (folder / files.UNFINISHED).glob("*"):
        with contextlib.suppress(OSError):  # finished in this moment
            found[path.name] = set(path.read_text(encoding="ascii").split())
    return found


# Removing


def drop_leftovers(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove parts of downloads that no process writes any more, but for those of the digests
    `keep`: whoever looks would take the model for one that is still being downloaded."""
    written = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # not ours to see, or it ended in this moment
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    status = descriptor.stat()
                    written.add((status.st_dev, status.st_ino))
    for part in (folder / "blobs").glob("*.incomplete"):
        status = part.stat()
        if (
            part.name.partition(".")[0] not in keep
            and (status.st_dev, status.st_ino) not in written
        ):
            part.unlink()


def remove(hub: str, model: str) -> None:
    """Remove a model: renamed first, so that nobody ever sees half of it."""
    root = files.home(hub)
    folder = files.model_folder(root, model)
    if not folder.is_dir():
        raise Failed("missing", f"{model} is not in {root}")
    doomed = root / f".removed-{secrets.token_hex(4)}-{folder.name}"
    folder.rename(doomed)
    shared = store.only_of(root, doomed)
    size = sum(_size(path) or 0 for path in (doomed / "blobs").glob("*") if not path.is_symlink())
    size += sum(_size(path) or 0 for path in _plain(doomed))
    for left in root.glob(".removed-*"):  # also what an earlier removal did not finish
        shutil.rmtree(left)
    shutil.rmtree(root / ".locks" / folder.name, ignore_errors=True)
    size += sum(store.release(root, path) for path in shared)
    report(done={"bytes": size})


if __name__ == "__main__":
    files.main({"list": list_models, "verify": verify, "identify": identify, "remove": remove})
