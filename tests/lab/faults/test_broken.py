"""Faults of hosts and of the way to them, in each phase; and two controllers at once."""

from __future__ import annotations

import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from _pytest.mark.structures import ParameterSet

from tests.lab.faults.bench import Bench
from tests.lab.faults.breaking import BOTH, CUT, DROPPED, FULL, HUNG, SKEWED, Fault
from tests.lab.faults.driver import BOOTSTRAP, Moment, Told
from tests.lab.faults.hosts import NAMES
from tests.lab.faults.test_killed import PHASES

pytestmark = pytest.mark.faults

_LONG = pytest.mark.long

#: Moments in each phase: when nothing is done yet, in the middle of a change, after it, and while
#: the program only waits.
MOMENTS = {
    "bootstrap": (
        Moment("host_connected", nth=2),
        Moment("guarded", "arming"),
        Moment("guarded", "applied", 2),
        Moment("step_finished", "netplan", 2),
        Moment("step_started", "memlock"),
        Moment("step_started", "docker"),
    ),
    "launch": (
        Moment("step_finished", "launch-snapshot", 2),
        Moment("step_started", "containers"),
        Moment("step_started", "containers", 2),
        Moment("step_started", "serve"),
        Moment("step_started", "ready"),
        Moment("step_started", "rdma-verdict"),
    ),
    "teardown": (
        Moment("host_connected", nth=2),
        Moment("step_started", "containers"),
        Moment("step_started", "teardown-check"),
        Moment("step_started", "launch-snapshot"),
    ),
}

#: What of them every test run looks at; `make test-faults` looks at all.
_FEW = {
    (DROPPED.name, "bootstrap", "guarded-arming"),
    (CUT.name, "launch", "step-started-ready"),
    (SKEWED.name, "bootstrap", "guarded-arming"),
    (FULL.name, "bootstrap", ""),
}


def _cases() -> list[ParameterSet]:
    """Every fault at every moment; the head and the worker take turns to be hit."""
    found = []
    for fault in (DROPPED, CUT, BOTH, SKEWED):
        for phase, moments in MOMENTS.items():
            for number, moment in enumerate(moments):
                host = NAMES[(number + 1) % 2]
                few = (fault.name, phase, str(moment)) in _FEW
                name = f"{fault.name.replace(',', '').replace(' ', '-')}-{phase}-{moment}-{host}"
                marks = [] if few else [_LONG]
                found.append(pytest.param(fault, phase, moment, host, id=name, marks=marks))
    return found


@pytest.mark.parametrize(("fault", "phase", "moment", "name"), _cases())
def test_in_the_middle(bench: Bench, fault: Fault, phase: str, moment: Moment, name: str) -> None:
    bench.prepare(phase)
    host = bench.rack.hosts[name]
    told = bench.controller.until(
        moment, lambda process: fault.strike(process, host), *PHASES[phase]
    )
    fault.mend(host)
    bench.examine(told, untouched=[each for each in NAMES if each != name])
    reverted = bench.settle()
    bench.converge(phase, again=False)
    bench.count(fault.name, phase, told.end, *["reverted"] * reverted)


def _from_the_beginning() -> list[ParameterSet]:
    found = []
    for fault in (FULL, HUNG):
        for phase in PHASES:
            marks = [] if (fault.name, phase, "") in _FEW else [_LONG]
            name = f"{fault.name.replace(' ', '-')}-{phase}"
            found.append(pytest.param(fault, phase, id=name, marks=marks))
    return found


@pytest.mark.parametrize(("fault", "phase"), _from_the_beginning())
def test_from_the_beginning(bench: Bench, fault: Fault, phase: str) -> None:
    bench.prepare(phase)
    host = bench.rack.hosts[NAMES[1]]
    fault.strike(None, host)  # type: ignore[arg-type]
    try:
        told = bench.controller.run(*PHASES[phase])
    finally:
        fault.mend(host)
    bench.examine(told)
    reverted = bench.settle()
    bench.converge(phase, again=False)
    bench.count(fault.name, phase, told.end, *["reverted"] * reverted)


@pytest.mark.parametrize(
    ("second", "moment"),
    [
        ("bootstrap", Moment("step_started", "rdma-modules")),
        pytest.param("launch", Moment("step_finished", "swap", 2), marks=_LONG),
    ],
    ids=["bootstrap", "launch"],
)
def test_two_controllers(bench: Bench, second: str, moment: Moment) -> None:
    """The second is refused, says by whom, and touches nothing; the first goes on."""
    bench.prepare("bootstrap")
    others: list[tuple[Told, int]] = []

    def come(first: subprocess.Popen[str]) -> None:
        first.send_signal(signal.SIGSTOP)  # else it might be done before the second has begun
        others.append((bench.controller.run(*PHASES[second]), first.pid))
        first.send_signal(signal.SIGCONT)

    told = bench.controller.until(moment, come, *BOOTSTRAP)
    (other, pid), *_ = others
    bench.examine(told)
    if (told.code, other.code) != (0, 5):
        bench.say([f"{told}\n{other}"], "the second should have been refused")
    said = " ".join(str(event.get("error")) for event in other.events)
    if f"(pid {pid})" not in said or "bootstrap by " not in said:
        bench.say([f"it does not name who holds the lock: {said}"], "the second")
    if other.statuses() & {"changed"}:
        bench.say([str(other)], "the refused run changed something")
    bench.converge("bootstrap", again=False)
    bench.count("two controllers", f"bootstrap, {second}", told.end, other.end)


@_LONG
def test_two_controllers_in_the_same_moment(bench: Bench) -> None:
    """One works. The other is refused: by the lock, or by the guard that the one has armed."""
    bench.prepare("bootstrap")
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(bench.controller.run, *BOOTSTRAP) for _ in range(2)]
        told, other = sorted((run.result() for run in runs), key=lambda each: each.code)
    bench.examine(told)
    refused = other.code == 5 or (other.code == 4 and other.codes == {"NET024"})
    if told.code != 0 or not refused or "changed" in other.statuses():
        bench.say([f"{told}\n{other}"], "exactly one should have worked")
    bench.converge("bootstrap", again=False)
    bench.count("two controllers", "bootstrap, bootstrap", told.end, other.end)
