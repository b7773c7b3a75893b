"""What our labels on a container may say. Pure.

A label is text from whoever made the image or started the container. It is checked here, once:
what has not the form of what launch writes is not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from spark_cluster.core.labels import LABEL
from spark_cluster.inventory.models import HOST_NAME
from spark_cluster.recipes.models import NAME
from spark_cluster.recipes.overrides import Overrides

#: Characters of a label that is kept; launch writes no longer one.
_LONGEST = 4096

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{12}", re.ASCII)
_NEED = re.compile(r"[0-9]{1,15}(,[0-9]{1,15})?", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_RECIPE = re.compile(rf"(?!.*\.ya?ml\Z){NAME.removeprefix('^').removesuffix('$')}", re.ASCII)

Check = Callable[[str], object]


def _number(low: int, high: int) -> Check:
    return lambda text: bool(_NUMBER.fullmatch(text)) and low <= int(text) <= high


def _each(check: Check) -> Check:
    return lambda text: all(check(part) for part in text.split(","))


def _one_of(*words: str) -> Check:
    return lambda text: text in words


def _model(text: str) -> bool:
    """A server's name of its model may be any text that a line can show."""
    return len(text) <= 512 and text.isprintable()


_PORT = _number(1, 65535)

#: What each label must be; an empty one says nothing. A recipe's is never the name of a file.
CHECKS: Mapping[str, Check] = {
    "recipe": lambda text: len(text) <= 128 and _RECIPE.fullmatch(text),
    "run": _WORD.fullmatch,
    "rank": _number(0, 999),
    "role": _one_of("head", "worker"),
    "group": _each(HOST_NAME.fullmatch),
    "model": _model,
    "hub-model": _model,
    "port": _PORT,
    "ports": _each(_PORT),
    "devices": _each(_WORD.fullmatch),
    "bytes-per-token": _NEED.fullmatch,
    "key": _WORD.fullmatch,
    "api": _one_of("openai", "ollama"),
    "spec": _DIGEST.fullmatch,
    "profile": _WORD.fullmatch,
    "options": _each(_WORD.fullmatch),
    "overrides": lambda text: Overrides.of_label(text) is not None,
    "restart-at-boot": _one_of("on"),
}


def checked(labels: Mapping[str, object]) -> dict[str, str]:
    """Those of our labels that are what they must be."""
    found: dict[str, str] = {}
    for name, check in CHECKS.items():
        value = labels.get(f"{LABEL}.{name}")
        if isinstance(value, str) and len(value) <= _LONGEST and value and check(value):
            found[f"{LABEL}.{name}"] = value
    return found
