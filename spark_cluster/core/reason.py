"""Why something is so: a code for logic, a text for a person."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """`code` is a word that logic may decide on, such as `away`; `text` is a sentence, as printed
    and as it stands in JSON."""

    code: str
    text: str

    def __str__(self) -> str:
        return self.text
