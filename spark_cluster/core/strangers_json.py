"""JSON that other programs print: what has not the expected form is empty."""

from __future__ import annotations

import json


def loads(text: str) -> object:
    """The value of a JSON text; None if it is none."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def mapping(value: object, key: str | None = None) -> dict[str, object]:
    """An object, or with `key` the object that it has there."""
    found = mapping(value).get(key) if key is not None else value
    return found if isinstance(found, dict) else {}


def objects(value: object, key: str | None = None) -> list[dict[str, object]]:
    """The objects in a list, or with `key` in the list that an object has there."""
    found = mapping(value).get(key) if key is not None else value
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
