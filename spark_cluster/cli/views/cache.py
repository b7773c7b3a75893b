"""What engines compiled, for a person."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.actions.compiled import HeldCaches
from spark_cluster.cli.views.unknown import unknown
from spark_cluster.core.units import human_bytes
from spark_cluster.terminal.printing import Shown, add_row, new_table


def lines(found: HeldCaches) -> Iterator[Shown]:
    """A row a folder."""
    shown = new_table("recipe", "rank", "host", "image", "size", "state", right=("size",))
    for each in found.caches:
        add_row(
            shown, each.recipe, str(each.rank), each.host, each.image,
            human_bytes(each.size_bytes), each.state,
        )  # fmt: skip
    if found.caches:
        yield shown
    elif not found.unknown:
        yield "nothing that engines compiled is kept on these hosts"
    yield from unknown(found.unknown, found.remedies)
