"""A string that never prints itself."""

from __future__ import annotations

from collections.abc import Iterable


class Secret:
    """A password or token. `str()` and `repr()` give `***`; only `reveal()` gives the value.

    >>> f"{Secret('hunter2')}"
    '***'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself. Call it only where it is written to a remote standard input."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """`text` with every secret's value replaced by `***`."""
    for secret in secrets:
        value = secret.reveal()
        if value:
            text = text.replace(value, "***")
    return text
