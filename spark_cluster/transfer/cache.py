"""What a node's Hugging Face cache holds of a model: whether it is complete, and if not, why.

Complete means: the ref names a snapshot that is there, every link in it leads to a file, every
weight file that its index names is there, and nothing is still being downloaded. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spark_cluster.core.units import count
from spark_cluster.transfer.node.files import File, kind_of

MAIN = "main"
#: A commit, as opposed to a branch or a tag.
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
#: `model-00001-of-00025.safetensors`: one of several, which all must be there.
_SHARD = re.compile(r"(.*-)(\d{5})(-of-)(\d{5})(\.\w+)")


@dataclass(frozen=True)
class Entry:
    """A file of a snapshot: the blob that it links to, or its hash as a blob would be named (empty:
    not known), its size in bytes (None: the link leads nowhere)."""

    path: str
    blob: str
    size: int | None


@dataclass(frozen=True)
class Snapshot:
    """`weights` are the files that the model's index names."""

    revision: str
    files: tuple[Entry, ...] = ()
    weights: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes, each blob once."""
        return sum({entry.blob or entry.path: entry.size or 0 for entry in self.files}.values())


@dataclass(frozen=True)
class CachedModel:
    """A model on one node. `size` is that of all its files in bytes, also of those that it shares
    with other models; `foreign` counts entries that are not the SSH user's; `dangling` blobs that
    link to the store that all models share, where nothing is; `unfinished` are commits that are
    still being brought; `partial` names files that are not whole and not of these; `cache` is the
    folder that was asked for."""

    name: str
    path: str = ""
    refs: Mapping[str, str] = field(default_factory=dict)
    snapshots: tuple[Snapshot, ...] = ()
    partial: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    size: int = 0
    foreign: int = 0
    cache: str = ""
    dangling: int = 0

    def commit(self, revision: str = MAIN) -> str:
        """The commit that a ref, or the commit itself, means here; empty if it is not there."""
        known = {snapshot.revision for snapshot in self.snapshots}
        named = revision if _COMMIT.fullmatch(revision) and revision in known else ""
        return self.refs.get(revision, named)

    def snapshot(self, revision: str = MAIN) -> Snapshot | None:
        commit = self.commit(revision)
        return next((s for s in self.snapshots if s.revision == commit), None)

    def faults(self, revision: str = MAIN) -> tuple[str, ...]:
        """Why it is not complete; empty if it is."""
        if not self.commit(revision):
            return (f"there is no ref {revision}",)
        snapshot = self.snapshot(revision)
        if snapshot is None:
            return (f"the snapshot {self.commit(revision)[:12]} is not there",)
        there = {entry.path for entry in snapshot.files if entry.size is not None}
        broken = sorted(entry.path for entry in snapshot.files if entry.size is None)
        missing = sorted(_expected(snapshot) - there - set(broken))
        found = [_named(missing, "weight file", "missing"), _named(broken, "file", "missing")]
        if not missing and not any(path.endswith(_WEIGHTS) for path in there):
            found.append("it has no weight file")
        if broken and self.dangling:
            found.append(
                f"{count(self.dangling, 'blob')} only {'links' if self.dangling == 1 else 'link'} "
                "to the store that the cache's models share, where nothing is: a copy that took "
                "links for files"
            )
        if snapshot.revision in self.unfinished:
            found.append(f"{snapshot.revision[:12]} was not brought as a whole yet")
        if self.partial:
            found.append(f"{count(len(self.partial), 'download')} not finished")
        return tuple(text for text in found if text)

    def complete(self, revision: str = MAIN) -> bool:
        return not self.faults(revision)

    def file_of(self, path: str) -> str:
        """The file of a snapshot that `blobs/NAME` is; the path itself if there is none."""
        if path.startswith("snapshots/"):
            return path.split("/", 2)[-1]
        blob = path.removeprefix("blobs/")
        entries = (entry for snapshot in self.snapshots for entry in snapshot.files)
        return next((entry.path for entry in entries if entry.blob == blob), path)


def _expected(snapshot: Snapshot) -> set[str]:
    """The weight files that the index names, and the siblings of every shard."""
    expected = set(snapshot.weights)
    for entry in snapshot.files:
        shard = _SHARD.fullmatch(entry.path)
        if shard:
            before, _, of, total, after = shard.groups()
            numbers = range(1, int(total) + 1)
            expected |= {f"{before}{number:05d}{of}{total}{after}" for number in numbers}
    return expected


def _named(paths: Sequence[str], noun: str, what: str) -> str:
    if not paths:
        return ""
    verb = "is" if len(paths) == 1 else "are"
    return f"{count(len(paths), noun)} {verb} {what}: {_some(paths)}"


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")


def parse(lines: Sequence[str]) -> tuple[CachedModel, ...]:
    """The models, from what node/hub.py `list` prints; other lines are passed over."""
    found: list[CachedModel] = []
    for line in lines:
        try:
            said = json.loads(line)
            if "model" in said:
                found.append(_model(said))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return tuple(found)


def _model(said: Mapping[str, Any]) -> CachedModel:
    snapshots = tuple(
        Snapshot(
            str(one["revision"]),
            tuple(Entry(str(path), str(blob), size) for path, blob, size in one["files"]),
            tuple(map(str, one["weights"])),
        )
        for one in said["snapshots"]
    )
    return CachedModel(
        name=str(said["model"]),
        path=str(said["path"]),
        refs={str(key): str(value) for key, value in said["refs"].items()},
        snapshots=snapshots,
        partial=tuple(map(str, said["partial"])),
        unfinished=tuple(map(str, said["unfinished"])),
        size=int(said["size"]),
        foreign=int(said["foreign"]),
        cache=str(said["cache"]),
        dangling=int(said.get("dangling", 0)),
    )


# Between nodes


@dataclass(frozen=True)
class Manifest:
    """What a copy of a commit's snapshot consists of: the blobs, the links to them, the ref."""

    commit: str
    files: tuple[File, ...]
    links: tuple[tuple[str, str], ...]
    refs: Mapping[str, str]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def nameless(model: CachedModel, revision: str = MAIN) -> bool:
    """Whether a file of the snapshot has no hash that says what it must hold."""
    snapshot = model.snapshot(revision)
    return snapshot is not None and any(not kind_of(entry.blob) for entry in snapshot.files)


def identified(model: CachedModel, digests: Mapping[str, str], revision: str = MAIN) -> CachedModel:
    """The model, with the hashes of the snapshot's files that had none."""
    snapshot = model.snapshot(revision)
    if snapshot is None:
        return model
    entries = tuple(
        entry if kind_of(entry.blob) else replace(entry, blob=digests.get(entry.path, ""))
        for entry in snapshot.files
    )
    known = replace(snapshot, files=entries)
    snapshots = tuple(known if one is snapshot else one for one in model.snapshots)
    return replace(model, snapshots=snapshots)


def manifest(model: CachedModel, revision: str = MAIN) -> Manifest:
    """The manifest of a complete snapshot. Raises ValueError, naming a file of which no hash says
    what it must hold."""
    snapshot = model.snapshot(revision)
    if snapshot is None:
        raise ValueError(f"{model.name} has no snapshot for {revision}")
    blobs: dict[str, File] = {}
    links: list[tuple[str, str]] = []
    for entry in snapshot.files:
        kind = kind_of(entry.blob)
        if kind is None or entry.size is None:
            raise ValueError(f"nothing says what {entry.path} must hold: it has no hash")
        blobs[entry.blob] = File(f"blobs/{entry.blob}", entry.size, kind, entry.blob)
        up = "../" * (2 + entry.path.count("/"))
        links.append((f"snapshots/{snapshot.revision}/{entry.path}", f"{up}blobs/{entry.blob}"))
    refs = {} if revision == snapshot.revision else {revision: snapshot.revision}
    return Manifest(snapshot.revision, tuple(blobs.values()), tuple(links), refs)


def holds(one: CachedModel | None, other: CachedModel, revision: str = MAIN) -> bool:
    """Whether one has the complete snapshot that the other has under this revision, file by file
    with the same hash; it may have more."""
    if one is None or not (one.complete(revision) and other.complete(revision)):
        return False
    mine, theirs = one.snapshot(revision), other.snapshot(revision)
    assert mine is not None and theirs is not None
    return mine.revision == theirs.revision and set(mine.files) >= set(theirs.files)


def differing(models: Mapping[str, CachedModel], revision: str = MAIN) -> str:
    """The files in which these differ: `README.md on spark-2; LICENSE on spark-3`."""
    files = {
        host: {entry.path: entry for entry in snapshot.files}
        for host, model in models.items()
        if (snapshot := model.snapshot(revision)) is not None
    }
    common = set.intersection(*(set(entries.values()) for entries in files.values()))
    parts = []
    for host, entries in files.items():
        paths = sorted(path for path, entry in entries.items() if entry not in common)
        if paths:
            parts.append(f"{_some(paths)} on {host}")
    return "; ".join(parts)


def skew(models: Mapping[str, CachedModel], revision: str = MAIN) -> str:
    """How the nodes that have the model differ in it; empty if they do not. What a node lacks is
    among its faults instead."""
    commits: dict[str, list[str]] = {}
    contents: dict[frozenset[str], list[str]] = {}
    for host, model in models.items():
        commits.setdefault(model.commit(revision) or "none", []).append(host)
        snapshot = model.snapshot(revision)
        if snapshot is not None and model.complete(revision):
            paths = frozenset(entry.path for entry in snapshot.files)
            contents.setdefault(paths, []).append(host)
    if len(commits) > 1:
        parts = [f"{commit[:12]} on {', '.join(hosts)}" for commit, hosts in commits.items()]
        return f"{revision} is {'; '.join(parts)}"
    if len(contents) > 1:
        parts = [f"{count(len(paths), 'file')} on {', '.join(hosts)}"
                 for paths, hosts in contents.items()]  # fmt: skip
        return f"the same revision has {'; '.join(parts)}"
    return ""
