"""What an examination says, whatever was examined."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`code` is explained by core/diagnoses.yaml; `what` was seen, with numbers and units."""

    code: str
    what: str
