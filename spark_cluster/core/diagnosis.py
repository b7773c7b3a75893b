"""The diagnoses: what `spark-cluster explain CODE` says. The texts are in diagnoses.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from spark_cluster.core.data_files import DataTable, parse_yaml, read_text

_CODE = re.compile(r"[A-Z]+\d{3}", re.ASCII)
_FIELDS = ("title", "why", "fix")
_OF_THE_DOCTOR = {"severity", "repair"}

#: A diagnosis as the file has it: its texts, and of the doctor's `severity` and maybe `repair`.
Entry = Mapping[str, str]


@dataclass(frozen=True)
class Diagnosis:
    """`why` it matters, and how it is mended (`fix`)."""

    code: str
    title: str
    why: str
    fix: str


def parse(text: str) -> dict[str, Entry]:
    """The entries of a YAML text by code, in its order. Raises ValueError, which names the code,
    for one that has not exactly the three texts, besides what the doctor needs."""
    return {code: _checked(code, entry) for code, entry in parse_yaml(text).items()}


def _checked(code: Any, entry: Any) -> Entry:
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise ValueError(f"{code!r} is no code such as NET004")
    if not isinstance(entry, dict) or set(entry) - _OF_THE_DOCTOR != set(_FIELDS):
        raise ValueError(f"{code}: needs {', '.join(_FIELDS)} and nothing else")
    if not all(isinstance(value, str) and value.strip() for value in entry.values()):
        raise ValueError(f"{code}: each of {', '.join(entry)} is a text")
    return entry


@cache
def entries() -> Mapping[str, Entry]:
    """The whole file."""
    return parse(read_text("spark_cluster.core", "diagnoses.yaml"))


DIAGNOSES: Mapping[str, Diagnosis] = DataTable(
    lambda: {
        code: Diagnosis(code, entry["title"], entry["why"], entry["fix"])
        for code, entry in entries().items()
    }
)


def explain(code: str) -> Diagnosis | None:
    """The diagnosis of `code`, whatever its case; None if there is none."""
    return DIAGNOSES.get(code.upper())
