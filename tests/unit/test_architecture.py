"""ARCHITECTURE.md shows the rooms as they are, and every file that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests import rooms

PACKAGE = Path(__file__).parents[2] / "spark_cluster"


def test_the_drawing_is_that_of_the_imports() -> None:
    text = rooms.PAGE.read_text(encoding="utf-8")
    assert rooms.with_drawing(text) == text, "python -m tests.rooms"


def test_every_file_that_it_names_is_there() -> None:
    text = rooms.PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+\.(?:py|yaml|yml|json))`", text))
    roots = (PACKAGE, PACKAGE.parent)
    missing = [name for name in named if not any((root / name).exists() for root in roots)]
    assert named
    assert missing == []
