"""Runs of bootstrap, launch and teardown with a random fault each, from a seed.

SPARK_CLUSTER_FAULT_RUNS says how many, SPARK_CLUSTER_FAULT_SEED which; both are printed.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading

import pytest

from tests.lab.faults.bench import Bench
from tests.lab.faults.breaking import CUT, DROPPED, FULL, KILLED, SKEWED, Fault
from tests.lab.faults.driver import Moment, Told
from tests.lab.faults.hosts import NAMES
from tests.lab.faults.test_killed import PHASES

pytestmark = pytest.mark.faults

RUNS = int(os.environ.get("SPARK_CLUSTER_FAULT_RUNS", "2"))
SEED = int(os.environ.get("SPARK_CLUSTER_FAULT_SEED", "2026"))

#: Each phase, how often of ten, and about how long it takes.
_PHASES = {"bootstrap": (5, 6.0), "launch": (2, 11.0), "teardown": (3, 2.5)}
_FAULTS = (KILLED, KILLED, DROPPED, CUT, FULL, SKEWED)


@pytest.mark.parametrize("number", range(RUNS), ids=lambda number: f"seed-{SEED}-run-{number}")
def test_a_random_fault(bench: Bench, number: int) -> None:
    dice = random.Random(f"{SEED}/{number}")
    phase = dice.choices(list(_PHASES), [weight for weight, _ in _PHASES.values()])[0]
    fault, name = dice.choice(_FAULTS), dice.choice(NAMES)
    seconds = dice.uniform(0.3, _PHASES[phase][1])
    print(f"seed {SEED} run {number}: {fault.name} on {name} after {seconds:.1f} s of {phase}")
    bench.prepare(phase)
    told = _after(bench, fault, name, seconds, phase)
    untouched = None if fault in (KILLED, FULL) else [each for each in NAMES if each != name]
    bench.examine(told, untouched=untouched)
    reverted = bench.settle()
    bench.converge(phase, again=number % 4 == 0)
    bench.count("random", f"{phase}, {fault.name}", told.end, *["reverted"] * reverted)


def _after(bench: Bench, fault: Fault, name: str, seconds: float, phase: str) -> Told:
    """The phase, with the fault that many seconds after its first event."""
    host = bench.rack.hosts[name]
    timers: list[threading.Timer] = []

    def begin(process: subprocess.Popen[str]) -> None:
        timers.append(threading.Timer(seconds, fault.strike, (process, host)))
        timers[0].start()

    try:
        return bench.controller.until(Moment("run_started"), begin, *PHASES[phase])
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()
        fault.mend(host)
