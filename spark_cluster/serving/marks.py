"""The lines of engines' logs that mean a milestone of the start-up: marks.yaml, by engine."""

from __future__ import annotations

from functools import cache

from spark_cluster.core.data_files import read_yaml
from spark_cluster.document import Document
from spark_cluster.serving.pattern import Pattern


class Mark(Document):
    """A line that means a milestone; `detail` is filled with the pattern's groups."""

    key: str
    text: str
    pattern: Pattern
    detail: str = ""


class _Engines(Document):
    vllm: tuple[Mark, ...]
    sglang: tuple[Mark, ...]
    trtllm: tuple[Mark, ...]
    ollama: tuple[Mark, ...]
    ready: tuple[Mark, ...]


@cache
def marks() -> tuple[Mark, ...]:
    """Of all engines, in the order of a start-up."""
    engines = read_yaml(_Engines, "spark_cluster.serving", "marks.yaml")
    return (*engines.vllm, *engines.sglang, *engines.trtllm, *engines.ollama, *engines.ready)
