"""Text of strangers made fit to be shown: one line stays one line, and nothing in it acts. Pure.

What a terminal would obey, or what hides or turns around what a reader sees, is shown as Python
writes it: `\\x1b`, `\\n`, `\\u202e`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

#: Control and format characters (ESC, C1, bidi overrides, zero width, tags), surrogates, line and
#: paragraph separators.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

#: A sequence that only sets colours and weights; it is the one that a log may keep.
_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,40}m")
_RESET = "\x1b[0m"


def one_line(text: str) -> str:
    """`text` as one line in which every character is seen; tabs become spaces."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text.expandtabs()))


def coloured(text: str) -> str:
    """`one_line` that keeps colours; they end with the line."""
    parts, colours = _COLOUR.split(text), _COLOUR.findall(text)
    if not colours:
        return one_line(text)
    kept = "".join(one_line(part) + colour for part, colour in zip(parts, colours, strict=False))
    return f"{kept}{one_line(parts[-1])}{_RESET}"


def plain(text: str) -> str:
    """`one_line` without the colours."""
    return one_line(_COLOUR.sub("", text))


def _shown(character: str) -> str:
    return repr(character)[1:-1] if unicodedata.category(character) in _UNSEEN else character


def finite(value: Any) -> Any:
    """Data for JSON, which knows no NaN and no infinity: they are null."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
