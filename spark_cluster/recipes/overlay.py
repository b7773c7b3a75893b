"""A recipe that was changed on the command line, as a file that extends it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from spark_cluster.places import config_dir
from spark_cluster.recipes import loader
from spark_cluster.recipes.models import Choice, Measured, Recipe

#: The fields that a profile, an option or an override changes whole.
_WHOLE = ("image", "port", "rails")


def can_extend(recipe: Recipe) -> bool:
    """Whether another recipe may name it under `extends`: only those of the recipes' folders."""
    there = loader.known({}).get(recipe.name)
    return there is not None and there.absolute() == recipe.path


def folder() -> Path:
    """The user's own recipes."""
    return config_dir() / "playbooks" / "recipes"


def free_name(wanted: str) -> str:
    """The name, with a number behind it if there is such a recipe."""
    taken = loader.known({})
    names = (wanted, *(f"{wanted}-{number}" for number in range(2, 1000)))
    return next(name for name in names if name not in taken)


def overlay(
    plain: Recipe, chosen: Recipe, name: str, note: str, measured: tuple[Measured, ...] = ()
) -> str:
    """The YAML of a recipe `name` that extends `plain` and serves as `chosen` does."""
    data: dict[str, Any] = {
        "name": name,
        "title": f"{plain.title} ({name.removeprefix(plain.name).strip('-')})",
        "note": note,
        "extends": plain.name,
    }
    for field in _WHOLE:
        if getattr(plain, field) != getattr(chosen, field):
            data[field] = getattr(chosen, field)
    for field in ("args", "env"):
        changed = _changed(getattr(plain, field), getattr(chosen, field))
        if changed:
            data[field] = changed
    data["measured"] = [each.model_dump() for each in measured]
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def _changed(before: Mapping[str, Choice], after: Mapping[str, Choice]) -> dict[str, Any]:
    return {
        name: choice.model_dump()
        for name, choice in after.items()
        if name not in before or before[name].value != choice.value
    }


def write(name: str, text: str) -> Path:
    """Its file in the user's own recipes. Raises OSError; a file of that name stays as it is."""
    path = folder() / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return path
