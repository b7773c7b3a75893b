"""What the tests of the runner share: a playbook, its application, its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spark_cluster.core.error import StateUnknown
from spark_cluster.core.result import Result, Status

from .cases import write
from .world import Stage


def playbook(folder: Path, *steps: str) -> Path:
    lines = "".join(f"  - {step}\n" for step in steps)
    return write(folder / "mine.yaml", f"name: mine\ntitle: Mine\nsteps:\n{lines}")


def apply(on: Stage) -> list[Result]:
    return on.run.apply(on.run.plan())


def statuses(results: Sequence[Result], step: str) -> dict[str, str]:
    return {result.host: result.status.value for result in results if result.step == step}


def one(results: Sequence[Result], status: Status) -> Result:
    (found,) = [result for result in results if result.status is status]
    return found


def lost(host: str) -> StateUnknown:
    return StateUnknown("the connection was lost", host=host, remedy="Run the command again.")
