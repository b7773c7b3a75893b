"""The tables beside this module: opened by name, because importlib.resources is slow to import."""

from __future__ import annotations

import json
import os

from .wire import Json


def read_text(name: str) -> str:
    """A file of this folder."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    with open(f"{folder}/{name}", encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


def read_json(name: str) -> Json:
    """A file of this folder that holds a JSON object."""
    found: Json = json.loads(read_text(name))
    return found


def read_rows(name: str) -> list[list[str]]:
    """The words of each line that is no comment."""
    lines = read_text(name).splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]
