"""A waiting step: its facts are read again until nothing is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from tenacity import (
    RetryError,
    Retrying,
    retry_if_result,
    stop_after_delay,
    wait_incrementing,
)

from spark_cluster.core.event import Listener, Progress
from spark_cluster.core.plan import PlannedStep
from spark_cluster.core.step import Assessment, Problem
from spark_cluster.runner.session import Stop

#: Seconds between two readings: quick at first, then sparing with the host.
_POLL = wait_incrementing(start=1.0, increment=0.5, max=10.0)


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

    def again() -> Assessment:
        now = look()
        message = "; ".join(what for what in now.waiting if what)
        if message:
            listener(Progress(host, planned.step.name, message, time.monotonic() - started))
        return now

    def pause(step: float) -> None:
        stop.wait(step)

    retry = Retrying(
        retry=retry_if_result(lambda now: bool(now.waiting) and not stop.requested),
        stop=stop_after_delay(seconds),
        wait=_POLL,
        sleep=pause,
    )
    try:
        last = retry(again)
    except RetryError as error:
        last = error.last_attempt.result()
    if last.waiting and stop.requested:
        return Assessment(skipped="interrupted while waiting")
    if not last.waiting or last.problems:
        return replace(last, waiting=())
    waited = f"{time.monotonic() - started:.0f} s"
    return Assessment(
        problems=tuple(
            Problem(
                "",
                f"after {waited}: {what or 'the head is not ready'}",
                "Look at `spark-cluster status`.",
            )
            for what in last.waiting
        )
    )
