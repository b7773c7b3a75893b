"""Which folders on the hosts `model` looks in: the hub's default, and those that recipes name."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from spark_cluster.core.error import InputError
from spark_cluster.recipes import loader
from spark_cluster.recipes.naming import DEFAULT_CACHE, NamedModel, model_of


def all_caches(own: Mapping[str, Path]) -> list[str]:
    """The default folder, then those of the recipes."""
    return list(dict.fromkeys([DEFAULT_CACHE, *(one.cache for one in _of_recipes(own).values())]))


def cache_of(model: str, own: Mapping[str, Path]) -> str:
    """Where launch looks for this model of the hub: the folder of the recipes that use it, the
    default if there is none. Raises InputError where they name several."""
    users: dict[str, list[str]] = {}
    for recipe, named in _of_recipes(own).items():
        if named.name == model:
            users.setdefault(named.cache, []).append(recipe)
    if len(users) > 1:
        where = ", ".join(f"{cache} ({', '.join(names)})" for cache, names in users.items())
        raise InputError(
            f"recipes keep {model} in several folders: {where}",
            remedy="Name the recipe in place of the model, or the folder with --cache.",
        )
    return next(iter(users), DEFAULT_CACHE)


def _of_recipes(own: Mapping[str, Path]) -> dict[str, NamedModel]:
    """The model of each recipe; not of one that cannot be read, or whose engine fetches its models
    itself."""
    found: dict[str, NamedModel] = {}
    for name in loader.known(own):
        with contextlib.suppress(InputError):
            named = model_of(name, own)
            found[name] = replace(named, cache=named.cache.rstrip("/"))
    return found
