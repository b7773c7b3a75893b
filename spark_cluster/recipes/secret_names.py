"""Which variables and arguments hold a secret, where a recipe has one in plain text, and the recipe
with such values blacked out. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from spark_cluster.recipes.lint_finding import Loc
from spark_cluster.recipes.models import Choice, Overlay, Recipe

#: What an engine needs only to fetch a model: huggingface_hub's variables.
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

MASK = "***"

_VARIABLE = re.compile(r"(TOKEN|SECRET|PASSWORD|API_KEY|ACCESS_KEY)$")
_ARGUMENT = re.compile(r"(^|-)(api-key|hf-token|password)$")

#: What people write where a client insists on a key and the server wants none.
_NO_SECRET = ("", "empty", "none", "dummy")


def is_secret_variable(name: str) -> bool:
    return bool(_VARIABLE.search(name.upper()))


def is_secret_argument(name: str) -> bool:
    return bool(_ARGUMENT.search(name.replace("_", "-").lower()))


def in_plain(recipe: Recipe) -> Iterator[Loc]:
    """Where the recipe itself, without its profiles and options, holds a secret's value."""
    for field, choices in (("args", recipe.args), ("env", recipe.env)):
        yield from (
            (field, name) for name, choice in choices.items() if _holds(field, name, choice)
        )


def masked(recipe: Recipe) -> Recipe:
    """The recipe as it may be shown."""
    return recipe.model_copy(
        update={
            **_masked(recipe),
            "profiles": _overlays(recipe.profiles),
            "options": _overlays(recipe.options),
        }
    )


def _holds(field: str, name: str, choice: Choice) -> bool:
    if choice.value is None or isinstance(choice.value, bool):
        return False
    is_secret = is_secret_argument(name) if field == "args" else is_secret_variable(name)
    return is_secret and choice.text.strip().lower() not in _NO_SECRET


def _masked(holder: Recipe | Overlay) -> dict[str, Any]:
    return {
        field: {
            name: choice.model_copy(update={"value": MASK})
            if _holds(field, name, choice)
            else choice
            for name, choice in choices.items()
        }
        for field, choices in (("args", holder.args), ("env", holder.env))
    }


def _overlays(overlays: Mapping[str, Overlay]) -> dict[str, Overlay]:
    return {name: one.model_copy(update=_masked(one)) for name, one in overlays.items()}
