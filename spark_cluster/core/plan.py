"""What the steps would change, per host: the thing that `plan` prints and `apply` carries out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spark_cluster.core.step import Assessment, Step


@dataclass(frozen=True)
class PlannedStep:
    """A step with its parameters; `index` is its place in the playbook, from 0."""

    index: int
    step: Step[Any, Any]
    params: Any

    @property
    def title(self) -> str:
        """What the step does with these parameters."""
        titled = self.step.titled
        return titled(self.params) if titled is not None else self.step.title


@dataclass(frozen=True)
class Plan:
    """The playbook's steps and, for each, the first assessment on every host."""

    playbook: str
    title: str
    steps: tuple[PlannedStep, ...]
    assessments: dict[tuple[int, str], Assessment]

    def __iter__(self) -> Iterator[tuple[PlannedStep, dict[str, Assessment]]]:
        for planned in self.steps:
            yield (
                planned,
                {
                    host: assessment
                    for (index, host), assessment in self.assessments.items()
                    if index == planned.index
                },
            )

    @property
    def change_count(self) -> int:
        return sum(len(assessment.changes) for assessment in self.assessments.values())
