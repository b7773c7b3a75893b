"""What a host keeps of its engines' compiling: folders by recipe, rank and image."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.engines.common import COMPILED
from spark_cluster.facts.base import Fact, always

_LINE = re.compile(
    rf"(\d{{1,15}})\s{re.escape(COMPILED)}/([a-z0-9][a-z0-9._-]*)/rank-(\d{{1,2}})/([0-9a-f]{{12}})"
)


@dataclass(frozen=True)
class Compiled:
    """Bytes of what one image compiled for one rank of a recipe; `image` is twelve hex digits of
    its ID on that host."""

    recipe: str
    rank: int
    image: str
    size: int

    @property
    def path(self) -> str:
        return f"{COMPILED}/{self.recipe}/rank-{self.rank}/{self.image}"


def parse(text: str) -> tuple[Compiled, ...]:
    """Only folders with names that launch gives; any other is not ours to show or remove."""
    found = (_LINE.fullmatch(line.strip()) for line in text.split("\n"))
    return tuple(
        Compiled(match[2], int(match[3]), match[4], int(match[1]) * 1024)
        for match in found
        if match is not None
    )


_SCRIPT = f"[ ! -d {COMPILED} ] || du -sk {COMPILED}/*/rank-*/* 2>/dev/null || true"

COMPILED_FACT = Fact("compiled", always(_SCRIPT), parse)
