"""The command line of Ray 2.51 (`ray start|stop|status`), and click's way to refuse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from .tables import read_json
from .wire import Json

TABLES = read_json("ray_flags.json")
"""Of each command the options with their kinds, from its `--help` and its hidden options; `other`
are the commands that Ray knows and the stand-in does not."""


class UsageError(Exception):
    """The text after `Error: `; the exit code is 2."""


def _value(option: str, kind: str, text: str) -> object:
    if kind in ("integer", "float"):
        try:
            return int(text) if kind == "integer" else float(text)
        except ValueError:
            raise UsageError(
                f"Invalid value for '{option}': '{text}' is not a valid {kind}."
            ) from None
    if kind == "boolean":
        if text.lower() in ("1", "true", "t", "yes", "y", "on"):
            return True
        if text.lower() in ("0", "false", "f", "no", "n", "off"):
            return False
        raise UsageError(f"Invalid value for '{option}': '{text}' is not a valid boolean.")
    if kind == "json":
        try:
            return json.loads(text)
        except ValueError:
            raise UsageError(f"Invalid value for '{option}': '{text}' is not valid JSON.") from None
    if "|" in kind and text not in kind.split("|"):
        choices = ", ".join(f"'{item}'" for item in kind.split("|"))
        raise UsageError(f"Invalid value for '{option}': '{text}' is not one of {choices}.")
    return text


def parse(table: Mapping[str, str], argv: Sequence[str]) -> Json:
    """Options as click parses them: `--name value` or `--name=value`, `_` is not `-`."""
    found: Json = {}
    rest = list(argv)
    while rest:
        item = rest.pop(0)
        name, equals, text = item.partition("=")
        if not item.startswith("-"):
            raise UsageError(f"Got unexpected extra argument ({item})")
        kind = table.get(name)
        if kind is None:
            raise UsageError(_no_such(name, table))
        key = {"-v": "verbose", "-f": "force", "-g": "grace_period"}.get(
            name, name.lstrip("-").replace("-", "_")
        )
        if kind == "flag":
            if equals:
                raise UsageError(f"Option '{name}' does not take a value.")
            found[key] = True
            continue
        if not equals:
            if not rest:
                raise UsageError(f"Option '{name}' requires an argument.")
            text = rest.pop(0)
        found[key] = _value(name, kind, text)
    return found


def _no_such(name: str, table: Mapping[str, str]) -> str:
    from difflib import get_close_matches

    near = sorted(get_close_matches(name, list(table)))
    if not near:
        return f"No such option: {name}"
    if len(near) == 1:
        return f"No such option: {name} Did you mean {near[0]}?"
    return f"No such option: {name} (Possible options: {', '.join(near)})"
