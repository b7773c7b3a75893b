"""A waiting step: its facts are read again until nothing is waited for."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace

from spark_cluster.core.event import Listener, Progress
from spark_cluster.core.plan import PlannedStep
from spark_cluster.core.step import Assessment, Problem
from spark_cluster.runner.session import Stop


def _pause(attempt: int) -> float:
    """Seconds until the next reading: quick at first, then sparing with the host."""
    return min(1.0 + 0.5 * attempt, 10.0)


def wait(
    planned: PlannedStep,
    host: str,
    look: Callable[[], Assessment],
    listener: Listener,
    stop: Stop,
) -> Assessment:
    """Look until nothing is waited for, or the step's time runs out, or Ctrl-C.

    The last assessment, with what it still waits for as its problems.
    """
    seconds = planned.wait_seconds
    assert seconds is not None
    started = time.monotonic()
    for attempt in itertools.count():
        last = look()
        passed = time.monotonic() - started
        message = "; ".join(what for what in last.waiting if what)
        if message:
            listener(Progress(host, planned.step.name, message, passed))
        if not last.waiting or stop.requested or passed >= seconds:
            break
        stop.wait(_pause(attempt))
    if last.waiting and stop.requested:
        return Assessment(skipped="interrupted while waiting")
    if not last.waiting or last.problems:
        return replace(last, waiting=())
    return Assessment(
        problems=tuple(
            Problem(
                "",
                f"after {passed:.0f} s: {what or 'the head is not ready'}",
                "Look at `spark-cluster status`.",
            )
            for what in last.waiting
        )
    )
