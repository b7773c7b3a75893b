"""Shared by the step files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pydantic import ConfigDict

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.step import Problem
from spark_cluster.document import Document


class NoParams(Document):
    """For steps without parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Stateful(Protocol):
    @property
    def state(self) -> str: ...


def by_state(**titles: str) -> Callable[[_Stateful], str]:
    """A step's titles by its parameter `state`."""
    return lambda params: titles[params.state]


def problem(code: str, what: str, remedy: str | None = None) -> Problem:
    """A problem whose remedy is the diagnosis's, unless a nearer one is known."""
    return Problem(code, what, remedy or DIAGNOSES[code].fix)
