"""The models in a node's Hugging Face cache, and the images that docker has."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from spark_cluster.core.shell import quote
from spark_cluster.facts.base import Fact
from spark_cluster.transfer import cache, scripts
from spark_cluster.transfer.node import hub


@dataclass(frozen=True)
class ModelsFact:
    """`models` by name. `error` is not empty when the cache could not be read: then nothing is
    known."""

    models: dict[str, cache.CachedModel] = field(default_factory=dict)
    error: str = ""


def parse_models(text: str) -> ModelsFact:
    lines = [line for line in text.splitlines() if line.strip()]
    if not any(line.startswith('{"done"') for line in lines):
        if "no-python" in lines:
            return ModelsFact(error="python3 is not installed")
        return ModelsFact(error=lines[-1] if lines else "the cache could not be listed")
    return ModelsFact(cache.parse(lines))


def models(folder: str) -> Fact[ModelsFact]:
    """The models in the cache `folder`, such as ~/.cache/huggingface."""
    script = scripts.once(hub, "list", {"hub": f"{folder.rstrip('/')}/hub"})
    return Fact("models", lambda _: script, parse_models)


@dataclass(frozen=True)
class Image:
    """An image: docker's ID, its size in bytes, and all its names."""

    id: str
    size: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class ImagesFact:
    """`error` is not empty when docker could not be asked."""

    images: tuple[Image, ...] = ()
    error: str = ""

    def named(self, name: str) -> Image | None:
        """The image of that name; without a tag docker means `latest`."""
        full = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
        return next((image for image in self.images if full in image.names), None)


_IMAGES = "{{.Id}} {{.Size}} {{json .RepoTags}} {{json .RepoDigests}}"


def parse_images(text: str) -> ImagesFact:
    found = []
    for line in text.splitlines():
        if line.startswith("error "):
            return ImagesFact(error=line.removeprefix("error "))
        words = line.split(" ", 2)
        if len(words) < 3 or not words[0].startswith("sha256:") or not words[1].isdigit():
            continue
        try:
            # Two lists, one after the other; docker prints null for an empty one.
            tags, end = json.JSONDecoder().raw_decode(words[2])
            digests = json.loads(words[2][end:])
        except (ValueError, RecursionError):
            continue
        names = tuple(str(name) for name in (*(tags or ()), *(digests or ())))
        found.append(Image(words[0], int(words[1]), names))
    return ImagesFact(tuple(found))


_LIST = f"""\
if _ids=$(docker image ls --quiet --no-trunc 2>&1); then
  [ -z "$_ids" ] || docker image inspect --format {quote(_IMAGES)} $(echo "$_ids" | sort -u)
else
  echo "error $(echo "$_ids" | tail -n 1)"
fi
true
"""

IMAGES = Fact("images", lambda _: _LIST, parse_images)
