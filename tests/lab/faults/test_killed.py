"""The controller killed (SIGKILL) at every boundary of the journal."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.lab.faults.bench import Bench
from tests.lab.faults.driver import BOOTSTRAP, LAUNCH, TEARDOWN, Moment
from tests.lab.faults.hosts import NAMES

pytestmark = pytest.mark.faults

PHASES = {"bootstrap": BOOTSTRAP, "launch": LAUNCH, "teardown": TEARDOWN}

#: What of them every test run looks at; `make test-faults` looks at all.
_FEW: dict[str, tuple[str, ...]] = {
    "bootstrap": ("step-started-memlock",),
    "launch": ("step-started-ready",),
    "teardown": (),
}


def boundaries(phase: str) -> list[Moment]:
    """Every event that a clean run of the shipped playbook writes into the journal."""
    path = Path(__file__).parents[3] / "playbooks" / f"{phase}.yaml"
    steps = [entry["step"] for entry in yaml.safe_load(path.read_text())["steps"]]
    found = [Moment("run_started"), *(Moment("host_connected", nth=n) for n in (1, 2))]
    if phase == "launch":
        found.insert(1, Moment("note"))  # what lint says of this suite's recipe
    seen = dict.fromkeys(steps, 0)
    for step in steps:
        seen[step] += 1
        found.append(Moment("step_started", step, seen[step]))
        if step == "netplan":
            states = ("arming", "applied", "confirmed")
            found += [Moment("guarded", state, nth) for state in states for nth in (1, 2)]
        first = len(NAMES) * (seen[step] - 1)
        found += [Moment("step_finished", step, first + nth) for nth in (1, 2)]
    if phase == "launch":
        found.append(Moment("judged"))
    return [*found, Moment("run_finished")]


CASES = [
    pytest.param(
        phase, moment, id=f"{phase}-{moment}",
        marks=[] if str(moment) in _FEW[phase] else [pytest.mark.long],
    )
    for phase in PHASES
    for moment in boundaries(phase)
]  # fmt: skip


@pytest.mark.parametrize(("phase", "moment"), CASES)
def test_the_controller_is_killed(bench: Bench, phase: str, moment: Moment) -> None:
    bench.prepare(phase)
    told = bench.controller.until(moment, lambda process: process.kill(), *PHASES[phase])
    bench.examine(told)
    reverted = bench.settle()
    bench.converge(phase)
    bench.count("controller killed", phase, told.end, *["reverted"] * reverted)


@pytest.mark.long
@pytest.mark.parametrize("phase", PHASES)
def test_these_are_all_boundaries(bench: Bench, phase: str) -> None:
    bench.prepare(phase)
    told = bench.controller.run(*PHASES[phase])
    bench.state = ""
    written = [e for e in told.events if e["kind"] != "progress"]
    assert len(written) == len(boundaries(phase)), str(told)
