"""A playbook as the user writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from spark_cluster.document import Document


class PlaybookStep(Document):
    """One line of a playbook: which step, and `with` which parameters."""

    step: str
    parameters: Mapping[str, Any] = Field(default={}, alias="with")


class Playbook(Document):
    """`steps` run in order; each starts where its barrier says (ARCHITECTURE.md)."""

    name: str
    title: str
    steps: tuple[PlaybookStep, ...] = Field(min_length=1)
