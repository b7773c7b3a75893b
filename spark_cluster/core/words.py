"""Sentences for a person. Pure."""

from __future__ import annotations

_ENDS = (".", "!", "?", "…")


def sentence(text: str) -> str:
    """The text with a full stop, unless it ends like a sentence already: what other programs say
    may or may not."""
    bare = text.rstrip()
    return bare if bare.endswith(_ENDS) else f"{bare}."
