"""The diagnoses: what `spark-cluster explain CODE` says. The texts are in diagnoses.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spark_cluster.core.data_files import DataTable, parse_yaml, read_text

_CODE = re.compile(r"[A-Z]+\d{3}", re.ASCII)
_FIELDS = ("title", "why", "fix")


@dataclass(frozen=True)
class Diagnosis:
    """`why` it matters, and how it is mended (`fix`)."""

    code: str
    title: str
    why: str
    fix: str


def parse(text: str) -> dict[str, Diagnosis]:
    """The diagnoses of a YAML text, in its order. Raises ValueError, which names the code, for an
    entry that has not exactly the three texts."""
    return {code: _checked(code, entry) for code, entry in parse_yaml(text).items()}


def _checked(code: Any, entry: Any) -> Diagnosis:
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise ValueError(f"{code!r} is no code such as NET004")
    if not isinstance(entry, dict) or set(entry) != set(_FIELDS):
        raise ValueError(f"{code}: needs {', '.join(_FIELDS)} and nothing else")
    if not all(isinstance(value, str) and value.strip() for value in entry.values()):
        raise ValueError(f"{code}: each of {', '.join(_FIELDS)} is a text")
    return Diagnosis(code, **entry)


DIAGNOSES: Mapping[str, Diagnosis] = DataTable(
    lambda: parse(read_text("spark_cluster.core", "diagnoses.yaml"))
)


def explain(code: str) -> Diagnosis | None:
    """The diagnosis of `code`, whatever its case; None if there is none."""
    return DIAGNOSES.get(code.upper())
