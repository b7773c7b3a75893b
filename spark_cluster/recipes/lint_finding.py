"""What lint says of one line of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """`loc` is the field in the recipe; `code` is explained by core/diagnosis.py; `source` says
    who saw it, where the reason alone does not convince."""

    severity: Literal["error", "warning"]
    loc: Loc
    code: str
    what: str
    remedy: str
    source: str = ""

    @property
    def is_error(self) -> bool:
        return self.severity == "error"
