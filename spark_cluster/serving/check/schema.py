"""Whether a value fits a JSON schema, as far as the schemas of the checks go."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
}


def misfit(value: object, schema: Mapping[str, object], at: str = "it") -> str:
    """Where `value` does not fit, in words that begin with `at`; empty if it fits.

    Knows `type` (object, string, boolean), `enum`, `properties`, `required` and
    `additionalProperties: false`, and no other words.
    """
    kind = schema.get("type")
    if isinstance(kind, str) and not _TYPES[kind](value):
        return f"{at} is no {kind}"
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        return f"{at} is none of {', '.join(map(str, allowed))}"
    return _object_misfit(value, schema, at) if isinstance(value, dict) else ""


def _object_misfit(value: dict[str, object], schema: Mapping[str, object], at: str) -> str:
    properties, required = schema.get("properties"), schema.get("required")
    known = properties if isinstance(properties, dict) else {}
    for name in required if isinstance(required, list) else ():
        if name not in value:
            return f"{at} has no {name}"
    if schema.get("additionalProperties") is False and not value.keys() <= known.keys():
        return f"{at} has more than {', '.join(known)}"
    problems = (misfit(value[name], known[name], name) for name in known if name in value)
    return next(filter(None, problems), "")
