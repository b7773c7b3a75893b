"""The log files that a command line names, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from spark_cluster.core.error import InputError


def read(names: Sequence[str]) -> dict[str, str]:
    """The texts by name, `-` is standard input. Raises InputError for a file that cannot be
    read."""
    return {name: _text_of(name) for name in dict.fromkeys(names)}


def _text_of(name: str) -> str:
    if name == "-":
        return sys.stdin.buffer.read().decode("utf-8", errors="replace")
    try:
        return Path(name).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(
            f"cannot be read: {getattr(error, 'strerror', None) or 'no file has such a name'}",
            place=name,
            remedy="Name a file that holds an engine's log, or - for standard input.",
        ) from error
