"""Shared by the step files."""

from __future__ import annotations

from pydantic import ConfigDict

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.step import Problem
from spark_cluster.document import Document


class NoParams(Document):
    """For steps without parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def problem(code: str, what: str, remedy: str | None = None) -> Problem:
    """A problem whose remedy is the diagnosis's, unless a nearer one is known."""
    return Problem(code, what, remedy or DIAGNOSES[code].fix)
