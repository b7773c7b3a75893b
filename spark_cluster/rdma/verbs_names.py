"""Numbers that verbs and the kernel answer with, and their names. The tables are in verbs.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from spark_cluster.core.data_files import NO_OTHER_KEYS, read_yaml

#: Later requests fail with it when one has failed: it tells of another completion.
FLUSHED = 5


@dataclass(frozen=True)
class VerbsNames:
    """`errno`: the name and glibc's words of each number; `completions`: the name without IBV_WC_
    and the meaning of each status; `fatal_events`: those after which a device or queue is of no
    use."""

    __pydantic_config__ = NO_OTHER_KEYS
    errno: dict[int, tuple[str, str]]
    completions: dict[int, tuple[str, str]]
    fatal_events: frozenset[str]


@cache
def verbs_names() -> VerbsNames:
    return read_yaml(VerbsNames, "spark_cluster.rdma", "verbs.yaml")


def errno_of(words: str) -> int | None:
    """The number of glibc's words for an error; None for others."""
    wanted = words.strip()
    return next((n for n, (_, text) in verbs_names().errno.items() if text == wanted), None)
