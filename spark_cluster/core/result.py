"""What became of a step on a host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from spark_cluster.core.error import SparkError
from spark_cluster.core.event import StepFinished


class Status(StrEnum):
    """`unknown`: the connection died after the command was sent; only a new reading resolves it."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"

    @property
    def good(self) -> bool:
        return self in (Status.OK, Status.CHANGED, Status.SKIPPED)


@dataclass(frozen=True)
class Result:
    """One step on one host. `title` is what the step does, `details` are lines for a person;
    `seconds` is wall time."""

    host: str
    step: str
    status: Status
    summary: str = ""
    details: tuple[str, ...] = ()
    error: SparkError | None = None
    seconds: float = 0.0
    title: str = ""

    def told(self) -> StepFinished:
        """As those hear it who listen to the run."""
        return StepFinished(
            self.host,
            self.step,
            self.title,
            self.status.value,
            self.summary,
            self.details,
            self.seconds,
            self.error,
        )


def exit_code(results: list[Result]) -> int:
    """The exit code of a run: the gravest of its results (core/error.py has the table)."""
    statuses = {result.status for result in results}
    if statuses & {Status.UNREACHABLE, Status.UNKNOWN}:
        return 3
    codes = [
        result.error.exit_code if result.error else 1
        for result in results
        if result.status is Status.FAILED
    ]
    return max(codes, default=0)
