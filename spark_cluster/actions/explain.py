"""The diagnoses that `explain` tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.diagnosis import DIAGNOSES, Diagnosis, explain
from spark_cluster.core.error import InputError
from spark_cluster.core.event import Event


@dataclass(frozen=True)
class Codes(Event):
    """All diagnoses."""

    kind: str = field(default="diagnoses", init=False)
    diagnoses: tuple[Diagnosis, ...]


@dataclass(frozen=True)
class Code(Event):
    """One diagnosis: why it matters, and how it is mended (`fix`)."""

    kind: str = field(default="diagnosis", init=False)
    code: str
    title: str
    why: str
    fix: str


def all_codes() -> Codes:
    return Codes(tuple(DIAGNOSES.values()))


def one_code(code: str) -> Code:
    """Raises InputError for a code that there is not."""
    found = explain(code)
    if found is None:
        raise InputError(
            f"there is no diagnosis {code!r}", remedy="`spark-cluster explain` lists all codes."
        )
    return Code(found.code, found.title, found.why, found.fix)
