"""What the steps would change, per host: the thing that `plan` prints and `apply` carries out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_cluster.core.step import AnyStep, Assessment, Change, Traffic

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class Override:
    """A parameter of a step that a verb sets over the playbook's, as data: the step's own model
    checks it. `typed` is the option that asked for it, for the message if the model refuses."""

    step: str
    parameter: str
    value: object
    typed: str = ""


@dataclass(frozen=True)
class PlannedStep:
    """A step with its parameters; `index` is its place in the playbook, from 0."""

    index: int
    step: AnyStep
    params: BaseModel

    @property
    def title(self) -> str:
        """What the step does with these parameters."""
        titled = self.step.titled
        return titled(self.params) if titled is not None else self.step.title

    @property
    def wait_seconds(self) -> float | None:
        """How long it waits; None: it does not."""
        return None if self.step.wait is None else self.step.wait(self.params)

    @property
    def guard_seconds(self) -> int | None:
        """How long the network guard waits; None: it does not guard this step."""
        return None if self.step.guarded is None else self.step.guarded(self.params)

    def assess(self, view: object) -> Assessment:
        """The difference on the host of this view."""
        return self.step.assess(view, self.params)

    def traffic(self, view: object) -> Traffic | None:
        """The traffic to make on the host of this view."""
        return None if self.step.traffic is None else self.step.traffic(view, self.params)


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

    def as_rows(self, *, commands: bool) -> list[dict[str, object]]:
        """A row a step and host, as `--json` prints a plan."""
        return [
            {
                "step": planned.step.name,
                "host": host,
                "skipped": assessment.skipped,
                "changes": [_change(change, commands=commands) for change in assessment.changes],
                "problems": [
                    {"code": problem.code, "what": problem.what, "remedy": problem.remedy}
                    for problem in assessment.problems
                ],
            }
            for planned, assessments in self
            for host, assessment in assessments.items()
        ]


def _change(change: Change, *, commands: bool) -> dict[str, object]:
    return {
        "what": change.what,
        "before": change.before,
        "after": change.after,
        "diff": list(change.diff),
        **({"commands": change.commands} if commands else {}),
    }
