"""What formats.yaml says of the formats of other tools."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from pydantic import Field

from spark_cluster.core.data_files import read_yaml
from spark_cluster.document import Document


class Refusal(Document):
    """Why a field cannot be honoured, and what to do about it."""

    message: str
    remedy: str


class Format(Document):
    """The fields of a format; those of `refused` must be absent or empty."""

    fields: tuple[str, ...]
    refused: Mapping[str, Refusal]


class Family(Document):
    """The program of a family of engines, and its arguments by sparkrun's names."""

    program: tuple[str, ...]
    flags: Mapping[str, str]


class Formats(Document):
    """The file."""

    eugr: Format = Field(alias="spark-vllm-docker")
    sparkrun: Format
    runtimes: Mapping[str, str]
    families: Mapping[str, Family]
    as_ours: Mapping[str, tuple[str | None, ...]]


@cache
def formats() -> Formats:
    """All of it."""
    return read_yaml(Formats, "spark_cluster.recipes.foreign", "formats.yaml")
