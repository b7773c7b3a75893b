"""Numbers as a person reads them, and as a host prints them."""

from __future__ import annotations

import re

GIB = 1024**3

_DECIMAL = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)


def human_bytes(count: float) -> str:
    """`1.5 GiB`: binary units, three significant figures."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def human_age(seconds: float) -> str:
    """`12 s`, `5 min`, `3 h`, `2 days`: how long ago, in its largest unit."""
    for unit, size in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            number = int(seconds // size)
            return count(number, unit) if unit == "day" else f"{number} {unit}"
    return f"{int(seconds)} s"


def count(number: int, noun: str) -> str:
    """`1 key`, `3 keys`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def number(text: str) -> int | None:
    """A counter's value, as a host printed it: decimal, not negative; None for anything else."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 20:
        return int(text)
    return None


def decimal(text: str) -> float | None:
    """A time in seconds, as a host printed it: decimal, not negative; None for anything else."""
    return float(text) if _DECIMAL.fullmatch(text) else None
