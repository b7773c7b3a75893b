"""What can be copied, as orders to the programs on the nodes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from spark_cluster.core.units import human_bytes
from spark_cluster.transfer.cache import Manifest
from spark_cluster.transfer.node import copy, image

#: A program of node/ and what it is told to do: its module, its command, its job.
Order = tuple[ModuleType, str, Mapping[str, Any]]

#: Where a source listens: addresses and ports.
Peers = Sequence[tuple[str, int]]


@dataclass(frozen=True)
class ModelPayload:
    """A snapshot of a model; `folder` is where it lies, on source and sinks alike."""

    model: str
    folder: str
    manifest: Manifest
    streams: int
    deep: bool = False
    step: str = "model-copy"

    @property
    def title(self) -> str:
        return f"{self.model}: {human_bytes(self.manifest.size)}"

    def serve(self, addresses: Sequence[str], token: str) -> Order:
        # A node without symlinks has no blobs: there the snapshot holds the file itself.
        links = {target[target.index("blobs/") :]: path for path, target in self.manifest.links}
        paths = [[file.path, links[file.path]] for file in self.manifest.files]
        job = {
            "folder": self.folder, "paths": paths, "addresses": list(addresses), "token": token,
        }  # fmt: skip
        return copy, "serve", job

    def fetch(self, peers: Peers, token: str, through: str | None) -> Order:
        job = {
            "folder": self.folder,
            "commit": self.manifest.commit,
            "wanted": [vars(file) for file in self.manifest.files],
            "links": self.manifest.links,
            "refs": dict(self.manifest.refs),
            "peers": peers,
            "token": token,
            "streams": self.streams,
            "deep": self.deep,
            "through": through,
        }
        return copy, "fetch", job

    def named(self, text: str) -> str:
        """`text` with the model's own name of a file in place of its blob's."""
        for path, target in self.manifest.links:
            blob = target[target.index("blobs/") :]
            text = text.replace(blob, path.split("/", 2)[2])
        return text


@dataclass(frozen=True)
class ImagePayload:
    """An image; `size` is what docker says of it, in bytes."""

    name: str
    size: int
    step: str = "image-copy"
    streams: int = 1

    @property
    def title(self) -> str:
        return f"{self.name}: {human_bytes(self.size)}"

    def serve(self, addresses: Sequence[str], token: str) -> Order:
        job = {"image": self.name, "addresses": list(addresses), "token": token}
        return image, "save", job

    def fetch(self, peers: Peers, token: str, through: str | None) -> Order:
        job = {"peer": peers[0], "token": token, "through": through, "total": self.size}
        return image, "load", job

    def named(self, text: str) -> str:
        return text


#: What is copied: the program that serves it, and the one that fetches it.
Payload = ModelPayload | ImagePayload
