"""What an archive of evidence holds."""

from __future__ import annotations

from collections.abc import Iterator

from spark_cluster.actions.evidence import Collected
from spark_cluster.core.units import human_bytes


def lines(found: Collected) -> Iterator[str]:
    """The archive, and what looks wrong."""
    yield f"{found.path}: {found.files} files, {human_bytes(found.bytes)}"
    if found.wrong:
        yield "what looks wrong:"
        yield from (f"  {line}" for line in found.wrong)
    else:
        yield "nothing looks wrong to the doctor"
    yield "next: tar -xzf it and read index.md; `spark-cluster explain CODE` says more"
