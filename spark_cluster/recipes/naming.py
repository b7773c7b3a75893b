"""What `model` and `image` take for a name: the hub's, docker's, or a recipe's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spark_cluster.core.error import InputError
from spark_cluster.core.shell import quote
from spark_cluster.document import suggest
from spark_cluster.recipes import loader

#: The default of huggingface_hub; launch mounts it.
DEFAULT_CACHE = "~/.cache/huggingface"

#: ORG/NAME: letters, digits, '-', '_', '.' (huggingface_hub's own rule for repository ids).
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class NamedModel:
    """A model of the hub, the cache it lies in on the hosts, the image of its recipe if any, and
    the revision that is meant. `asked` are the words that mean it on a command line. `drafts` are
    the models that its recipe loads beside it."""

    name: str
    cache: str = DEFAULT_CACHE
    image: str = ""
    revision: str = "main"
    asked: str = ""
    drafts: tuple[NamedModel, ...] = ()


def model_folder(cache: str, name: str) -> str:
    """Where huggingface_hub keeps a model below its HF_HOME `cache`."""
    return f"{cache.rstrip('/')}/hub/models--{name.replace('/', '--')}"


def _is_recipe(given: str, own: Mapping[str, Path]) -> bool:
    return given.endswith((".yaml", ".yml")) or given in loader.known(own)


def model_of(given: str, own: Mapping[str, Path], cache: str | None = None) -> NamedModel:
    """The model that `given` names. Raises InputError."""
    asked = quote(given) + (f" --cache {quote(cache)}" if cache else "")
    if not _is_recipe(given, own):
        if _HUB_NAME.fullmatch(given):
            return NamedModel(given, cache or DEFAULT_CACHE, asked=asked)
        raise InputError(
            f"{given!r} is neither ORG/NAME, as the hub names a model, nor a recipe",
            remedy=f"{suggest(given, list(loader.known(own)), 'recipes')} "
            "A model of the hub: for example Qwen/Qwen3-32B-FP8.",
        )
    recipe = loader.load(given, own)
    if not _HUB_NAME.fullmatch(recipe.model):
        raise InputError(
            f"{recipe.name} serves {recipe.model}, which is no ORG/NAME of the hub",
            place=str(recipe.path),
            remedy=f"{recipe.engine} fetches its models itself; launch it.",
        )
    where = cache or recipe.model_cache
    drafts = tuple(
        NamedModel(each.model, where, recipe.image, each.revision, quote(each.model))
        for each in recipe.drafts
    )
    return NamedModel(recipe.model, where, recipe.image, recipe.revision, asked, drafts)


def image_of(given: str, own: Mapping[str, Path]) -> str:
    """The image that `given` names: a recipe's, or the name as it is if it can be docker's."""
    if _is_recipe(given, own) or not re.search(r"[:/@]", given):
        return loader.load(given, own).image
    return given
