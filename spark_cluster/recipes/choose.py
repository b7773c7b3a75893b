"""A recipe with the profile and the options that the command line asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spark_cluster.core.error import InputError
from spark_cluster.document import suggest
from spark_cluster.recipes.models import Overlay, Recipe


def choose(recipe: Recipe, profile: str | None = None, options: Sequence[str] = ()) -> Recipe:
    """The recipe with the profile and then the options over it, in the order given.

    Raises InputError for a name that the recipe does not have.
    """
    overlays = [_find(recipe, recipe.profiles, "profile", profile)] if profile else []
    overlays += [_find(recipe, recipe.options, "option", name) for name in dict.fromkeys(options)]
    for overlay in overlays:
        recipe = _over(recipe, overlay)
    return recipe


def _find(recipe: Recipe, there: Mapping[str, Overlay], kind: str, name: str) -> Overlay:
    if name in there:
        return there[name]
    remedy = (
        suggest(name, list(there), f"{kind}s")
        if there
        else f"Launch it without, or add `{kind}s:` to {recipe.path.name}."
    )
    raise InputError(f"{recipe.name} has no {kind} {name!r}", place=str(recipe.path), remedy=remedy)


def _over(recipe: Recipe, overlay: Overlay) -> Recipe:
    changes: dict[str, Any] = {
        "args": {**recipe.args, **overlay.args},
        "env": {**recipe.env, **overlay.env},
    }
    if overlay.rails is not None:
        changes["rails"] = overlay.rails
    return recipe.model_copy(update=changes)
