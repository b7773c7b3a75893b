"""The models in a node's Hugging Face cache, and the images that docker has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from spark_cluster.core.shell import quote
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, always
from spark_cluster.transfer import cache, scripts
from spark_cluster.transfer.node import hub


@dataclass(frozen=True)
class ModelsFact:
    """`found` are the models of all folders that were read. `error` is not empty when these could
    not be read: then nothing is known."""

    found: tuple[cache.CachedModel, ...] = ()
    error: str = ""

    @property
    def models(self) -> dict[str, cache.CachedModel]:
        """By name, for a fact of one folder."""
        return {model.name: model for model in self.found}


def parse_models(text: str) -> ModelsFact:
    lines = [line for line in text.split("\n") if line.strip()]
    if not any(line.startswith('{"done"') for line in lines):
        if "no-python" in lines:
            return ModelsFact(error="python3 is not installed")
        return ModelsFact(error=lines[-1] if lines else "the cache could not be listed")
    return ModelsFact(cache.parse(lines))


def models(*folders: str) -> Fact[ModelsFact]:
    """The models in these cache folders, such as ~/.cache/huggingface."""
    script = scripts.once(hub, "list", {"caches": [folder.rstrip("/") for folder in folders]})
    return Fact("models", lambda _: script, parse_models)


@dataclass(frozen=True)
class Image:
    """An image: docker's ID, its size in bytes, and all its names."""

    id: str
    size: int
    names: tuple[str, ...]


def full_name(name: str) -> str:
    """An image's name as docker tells it: `docker.io/library/` is left out, no tag means `latest`,
    and beside a digest a tag means nothing."""
    name = re.sub(r"^(index\.)?docker\.io/", "", name)
    name = re.sub(r"^library/(?=[^/]+$)", "", name)
    tagged, at, digest = name.partition("@")
    untagged = re.sub(r":[^/:]*$", "", tagged)
    if at:
        return f"{untagged}@{digest}"
    return tagged if tagged != untagged else f"{tagged}:latest"


@dataclass(frozen=True)
class ImagesFact:
    """`error` is not empty when docker could not be asked."""

    images: tuple[Image, ...] = ()
    error: str = ""

    def named(self, name: str) -> Image | None:
        """The image that docker means by that name."""
        full = full_name(name)
        return next((image for image in self.images if full in image.names), None)


_IMAGES = "{{.Id}} {{.Size}} {{json .RepoTags}} {{json .RepoDigests}}"


def parse_images(text: str) -> ImagesFact:
    found = []
    for line in text.split("\n"):
        if line.startswith("error "):
            return ImagesFact(error=line.removeprefix("error "))
        words = line.split(" ", 2)
        size = number(words[1]) if len(words) == 3 else None
        if size is None or not words[0].startswith("sha256:"):
            continue
        try:
            # Two lists, one after the other; docker prints null for an empty one.
            tags, end = json.JSONDecoder().raw_decode(words[2])
            digests = json.loads(words[2][end:])
        except (ValueError, RecursionError):
            continue
        names = tuple(str(name) for name in (*(tags or ()), *(digests or ())))
        found.append(Image(words[0], size, names))
    return ImagesFact(tuple(found))


_LIST = f"""\
if _ids=$(docker image ls --quiet --no-trunc 2>&1); then
  [ -z "$_ids" ] || docker image inspect --format {quote(_IMAGES)} $(echo "$_ids" | sort -u)
else
  echo "error $(echo "$_ids" | tail -n 1)"
fi
true
"""

IMAGES = Fact("images", always(_LIST), parse_images)
