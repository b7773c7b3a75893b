"""The drawing of the rooms in ARCHITECTURE.md, from the imports.

`python -m tests.rooms` renews it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import grimp

PAGE = Path(__file__).parent.parent / "ARCHITECTURE.md"
BEGIN, END = "<!-- rooms -->\n", "<!-- /rooms -->\n"
_PACKAGE = "spark_cluster"


def imports() -> dict[str, set[str]]:
    """Each room, and the rooms that it imports from."""
    graph = grimp.build_graph(_PACKAGE)
    rooms = sorted(graph.find_children(_PACKAGE))
    return {
        name(room): {
            name(other)
            for other in rooms
            if other != room
            and graph.direct_import_exists(importer=room, imported=other, as_packages=True)
        }
        for room in rooms
    }


def name(module: str) -> str:
    return module.rpartition(".")[2]


def reduced(arrows: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """The arrows that no way over other rooms says already."""
    below: dict[str, set[str]] = {}

    def reach(room: str) -> set[str]:
        if room not in below:
            below[room] = set()
            for other in arrows[room]:
                below[room] |= {other, *reach(other)}
        return below[room]

    for room, others in sorted(arrows.items()):
        for other in sorted(others):
            if not any(other in reach(way) for way in others - {other}):
                yield room, other


def drawing() -> str:
    """A mermaid flowchart."""
    lines = [f"  {room} --> {other}" for room, other in reduced(imports())]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```", ""])


def with_drawing(text: str) -> str:
    """The page with the drawing of now."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + drawing() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(with_drawing(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
