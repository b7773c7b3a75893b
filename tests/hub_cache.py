"""Models in a Hugging Face cache, laid out as the hub's client does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from spark_cluster.lab.model import blob_name

MODEL = "org/tiny-model"
REVISION = "a" * 40


def content(*, shards: int = 3, size: int = 300_000) -> dict[str, bytes]:
    """The files of a small model; every shard is different."""
    names = [f"model-{n + 1:05d}-of-{shards:05d}.safetensors" for n in range(shards)]
    index = {"weight_map": {f"layer.{number}": name for number, name in enumerate(names)}}
    return {
        "config.json": b"{}\n",
        "model.safetensors.index.json": json.dumps(index).encode(),
        "deep/er/tokenizer.json": b'{"a": 1}\n',
        **{name: os.urandom(size) for name in names},
    }


def write_model(
    hub: Path,
    files: Mapping[str, bytes],
    *,
    model: str = MODEL,
    revision: str = REVISION,
    ref: str = "main",
) -> Path:
    """Write a model into a hub folder; gives the model's own folder."""
    folder = hub / f"models--{model.replace('/', '--')}"
    for name in ("blobs", "refs", f"snapshots/{revision}"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        blob = blob_name(name, data)
        (folder / "blobs" / blob).write_bytes(data)
        link = folder / "snapshots" / revision / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"{'../' * (2 + name.count('/'))}blobs/{blob}")
    (folder / "refs" / ref).write_text(revision)
    return folder


def tree(folder: Path) -> dict[str, bytes | str]:
    """All that a folder holds, for comparing: contents, and where links lead."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
