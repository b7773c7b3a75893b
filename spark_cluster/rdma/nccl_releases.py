"""Releases of NCCL that are reported to fail between Sparks: which, when, what helps, who says so.

The table is nccl_releases.yaml. Reports and not proofs: a release that is listed may run for weeks,
so each is told with its condition, and not where a log shows a job that ended well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from spark_cluster.core.data_files import NO_OTHER_KEYS, read_yaml

Release = tuple[int, ...]


@dataclass(frozen=True)
class Reported:
    """`releases` are ranges, both ends included. `least_ranks`: the smallest job it was seen in.
    `doubtful`: NCCL's own sources speak against it."""

    __pydantic_config__ = NO_OTHER_KEYS
    releases: tuple[tuple[str, str], ...]
    what: str
    helps: str
    source: str
    least_ranks: int = 2
    doubtful: bool = False

    def holds(self, version: str, ranks: int) -> bool:
        """Whether it is said of this release in a job of so many ranks."""
        release = parse(version)
        return ranks >= self.least_ranks and any(
            parse(first) <= release <= parse(last) for first, last in self.releases
        )


@cache
def reported() -> tuple[Reported, ...]:
    return read_yaml(tuple[Reported, ...], "spark_cluster.rdma", "nccl_releases.yaml")


def parse(version: str) -> Release:
    """The numbers of `2.28.9` or `2.28.9+cuda13.0`, to compare; empty if there are none."""
    numbers = version.partition("+")[0].split(".")
    return tuple(int(part) for part in numbers) if all(p.isdigit() for p in numbers) else ()


def told(version: str | None, ranks: int, build: str = "", *, doubtful: bool = True) -> list[str]:
    """What is reported of a release in a job of so many ranks, as sentences; with `doubtful` also
    that which NCCL's sources speak against."""
    if not version:
        return []
    named = f"NCCL {version}{build if build.startswith('+') else ''}"
    return [
        f"{named} {entry.what}. {entry.helps[0].upper()}{entry.helps[1:]}. Source: {entry.source}."
        for entry in reported()
        if entry.holds(version, ranks) and (doubtful or not entry.doubtful)
    ]
