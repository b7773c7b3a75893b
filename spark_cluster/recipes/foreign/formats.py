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
    """The fields of a format; those of `refused` must be absent or empty, those of `passed_over`
    its own tool does not read either."""

    fields: tuple[str, ...]
    refused: Mapping[str, Refusal]
    passed_over: tuple[str, ...] = ()


class Family(Document):
    """The program of a family of engines, and its arguments by sparkrun's names: those with another
    name, those with the same, and those whose `false` is an argument of its own."""

    program: tuple[str, ...]
    flags: Mapping[str, str]
    same: tuple[str, ...] = ()
    negated: tuple[str, ...] = ()

    def flag(self, name: str, value: object) -> str:
        """The argument that a default becomes, without its dashes; empty if it becomes none."""
        joint = "_" if "trtllm-serve" in self.program else "-"
        flag = self.flags.get(name) or (name.replace("_", joint) if name in self.same else "")
        if value is False:
            return f"no-{flag}" if flag and name in self.negated else ""
        return "" if value is None else flag


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
