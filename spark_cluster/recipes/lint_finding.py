"""What lint says of one line of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spark_cluster.core import finding as core
from spark_cluster.recipes.models import Choice

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding(core.Finding):
    """`loc` is the field in the recipe; `source` says who saw it, where the reason alone does not
    convince."""

    severity: Literal["error", "warning"]
    loc: Loc
    remedy: str
    source: str = ""

    @property
    def is_error(self) -> bool:
        return self.severity == "error"


def error(loc: Loc, code: str, what: str, remedy: str, source: str = "") -> Finding:
    return Finding(code, what, "error", loc, remedy, source)


def warning(loc: Loc, code: str, what: str, remedy: str, source: str = "") -> Finding:
    return Finding(code, what, "warning", loc, remedy, source)


def value_of(choice: Choice | None) -> str | None:
    """The value as text, None if it is absent, null or false."""
    if choice is None or choice.value is None or choice.value is False:
        return None
    return choice.text
