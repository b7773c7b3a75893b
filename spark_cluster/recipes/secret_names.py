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

#: The words by which a variable's name says that it holds a secret; tokens of text are none. A
#: KEY does so here at the end; evidence, which blacks out in doubt, takes it anywhere.
SECRET_WORDS = r"(?:TOKEN(?!S|I)|SECRET|PASSW|PASSPHRASE|CREDENTIAL|_PSK)"

_VARIABLE = re.compile(rf"({SECRET_WORDS}[A-Z]*|API_?KEYS?|(?<!PUBLIC)_KEY)(_?\d+)?$")
_ARGUMENT = re.compile(r"(^|-)(api-key|hf-token|password)$")

#: What people write where a client insists on a key and the server wants none, and switches.
_NO_SECRET = ("", "empty", "none", "dummy", "0", "1", "true", "false")

#: The path of a file that holds it: RAY_TLS_SERVER_KEY, GOOGLE_APPLICATION_CREDENTIALS.
_PATH = re.compile(r"[~.]{0,2}/\S*\.[a-z]+")


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
    text = choice.text.strip().lower()
    return is_secret and text not in _NO_SECRET and not _PATH.fullmatch(text)


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
