"""Text that attacks a terminal and a reader, put into every field of anything."""

from __future__ import annotations

import copy
import dataclasses
import json
import unicodedata
from enum import Enum
from typing import Any

#: What no line may begin with.
FORGED = "verdict: forged"

#: Clears the screen, sets the title and the clipboard, breaks lines in every way that there is,
#: turns text around, hides, and speaks rich's markup.
POISON = (
    "~\x1b[2J\x1b[H\x1b]0;owned\x07\x1b]52;c;b3du\x07\x1b]8;;http://x\x1b\\\x9b31m\x90\x9d"
    f"\r{FORGED}\n{FORGED}\r\n{FORGED}\x0b{FORGED}\x0c{FORGED}\x85{FORGED}\u2028{FORGED}\u2029"
    f"{FORGED}\u202e\u2066\u200b\u200f\ufeff\u00ad\x00\x08\x7f\ud800"
    "[red]red[/red][link=http://x]link[/link][/]:warning:"
)

#: POISON without what ends a line, as it stands in one line of a log.
INLINE = POISON.replace("\n", " ").replace("\ud800", "")

_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def poisoned(value: Any) -> Any:
    """`value` with POISON at the end of every text in it; sets and mappings have both."""
    if isinstance(value, Enum) or value is None:
        return value
    if isinstance(value, str):
        return value + POISON
    if isinstance(value, dict):
        bad = {poisoned(key): poisoned(item) for key, item in value.items()}
        return {**{key: poisoned(item) for key, item in value.items()}, **bad}
    if isinstance(value, frozenset | set):
        return type(value)([*value, *map(poisoned, value)])
    if isinstance(value, tuple | list):
        items = list(map(poisoned, value))
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        made = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(made, field.name, poisoned(getattr(value, field.name)))
        return made
    return value


def harmless(text: str, *, colours: bool = False, folded: bool = False) -> None:
    """Nothing in `text` acts on a terminal, forges a line, or was read as markup (which is not seen
    where narrow columns have `folded` it)."""
    if colours:
        from spark_cluster.core.printable import _COLOUR

        text = _COLOUR.sub("", text)
    for line in text.split("\n"):
        found = [c for c in line if unicodedata.category(c) in _UNSEEN]
        assert not found, f"{found!r} in {line!r}"
        assert not line.lstrip().startswith(FORGED), line
    assert folded or text.count("[red]red[/red]") == text.count("]link[/link][/]:warning:")


def harmless_json(text: str) -> None:
    """Every line is one object in printable ASCII."""
    for line in text.split("\n")[:-1]:
        assert line.isascii()
        assert line.isprintable()
        json.loads(line)
