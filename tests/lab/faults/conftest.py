"""The rack for the fault suite: up once for the whole run. At the end the table of counts."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_cluster.core.error import LabError
from spark_cluster.lab import requirements
from tests.lab.faults import bench as benches
from tests.lab.faults import disks
from tests.lab.faults.driver import Controller
from tests.lab.faults.hosts import racked
from tests.lab.faults.invariants import Known
from tests.lab.faults.sight import look
from tests.lab.faults.spaces import why_not


@pytest.fixture(scope="session")
def rack_bench() -> Iterator[benches.Bench]:
    problem = why_not() or ", ".join(package.name for package in requirements.missing())
    if problem:
        pytest.skip(f"the fault suite is left out: {problem}")
    try:
        base, docker = disks.ensure()
    except LabError as error:
        pytest.skip(f"the fault suite is left out: {error}")
    for old in Path(tempfile.gettempdir()).glob("faults-[0-9]*-*"):
        if not Path(f"/proc/{old.name.split('-')[1]}").exists():  # of a suite that was killed
            shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"faults-{os.getpid()}-") as name:
        folder = Path(name)
        with racked(base, docker, folder / "rack") as rack:
            controller = Controller(rack, folder / "controller")
            fresh = {name: look(host) for name, host in rack.hosts.items()}
            told = controller.bootstrap()
            assert told.code == 0, str(told)
            ready = {name: look(host) for name, host in rack.hosts.items()}
            yield benches.Bench(rack, controller, Known(fresh, ready), "ready")


@pytest.fixture
def bench(rack_bench: benches.Bench, request: pytest.FixtureRequest) -> Iterator[benches.Bench]:
    """The bench; what the test before complained of is its own affair."""
    rack_bench.complaints = []
    kept = request.node.user_properties  # travels with the report, from a worker, too
    rack_bench.record = lambda word, value: kept.append((word, value))
    yield rack_bench
    if rack_bench.complaints:
        rack_bench.state = ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The counts, after all tests."""
    reports = (report for found in terminalreporter.stats.values() for report in found)
    lines = benches.table(
        value
        for report in reports
        for word, value in getattr(report, "user_properties", ())
        if word == benches.COUNTED and report.when == "call"
    )
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.line(line)
