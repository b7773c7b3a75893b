"""Durations on the command line: `30s`, `10m`, `2h`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import typer

_FORM = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)(s|m|h)?", re.ASCII)
_WEEK = 7 * 24 * 3600.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def duration(
    option: str, *, least: float, most: float = _WEEK, bare: str = "s"
) -> Callable[[str], float]:
    """A parser for `option`: seconds, from `least` to `most`. A number without a unit is in `bare`
    as in earlier releases, which is told."""

    def parse(given: str | float) -> float:
        if isinstance(given, int | float):  # the option's own default
            return float(given)
        found = _FORM.fullmatch(given.strip())
        if found is None:
            raise typer.BadParameter(f"{given!r} is no duration such as 30s, 10m or 2h.")
        seconds = float(found[1]) * _UNITS[found[2] or bare]
        if not least <= seconds <= most:
            raise typer.BadParameter(f"{given} is not from {told(least)} to {told(most)}.")
        if found[2] is None:
            from spark_cluster.terminal.printing import say

            say(f"note: {option} {given} is {given}{bare}; write the unit", err=True)
        return seconds

    return parse


def time_option(
    name: str,
    says: str,
    *,
    least: float,
    most: float = _WEEK,
    bare: str = "s",
    show_default: bool = True,
) -> Any:
    """An option that takes a duration; `says` is its help."""
    return typer.Option(
        name,
        metavar="TIME",
        parser=duration(name, least=least, most=most, bare=bare),
        help=says,
        show_default=show_default,
    )


def told(seconds: float) -> str:
    """`30s`, `10m`, `2h`: in the largest unit that it is a whole number of."""
    for unit in ("h", "m"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds:g}s"
