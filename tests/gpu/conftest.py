"""The pair of hosts, up once for each worker; the record of what came of each phase."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import hosts, place, settings, versions
from .pair import Pair
from .record import Record


def pytest_configure() -> None:
    settings.until()  # the time begins here, also for the workers


#: Files whose tests launch and tear down by themselves.
_SINGLE = ("test_starts.py", "test_variants.py")

_STASH = pytest.StashKey[dict[str, pytest.TestReport]]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """A file is one life, whose tests stay together; the tests of the others go where there is
    time. (`--dist loadgroup` of pytest-xdist 3.8 does nothing under pytest 9.2.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByLife(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if Path(file).name in _SINGLE else file

    return ByLife(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    item.stash.setdefault(_STASH, {})[report.when or ""] = report
    return report  # type: ignore[return-value]


@pytest.fixture(scope="session")
def record() -> Record:
    problem = settings.why_not()
    if problem:
        pytest.skip(f"the test with GPUs is left out: {problem}")
    return Record()


@pytest.fixture(scope="session")
def pair(record: Record) -> Iterator[Pair]:
    folder = settings.work()
    inventory = place.write(folder / "place")
    with hosts.pair(inventory, folder / "pair") as found:
        made = Pair(found, inventory, record, folder)
        record.grab = made.grab
        versions.tell(made)
        yield made


@pytest.fixture(autouse=True)
def phase(request: pytest.FixtureRequest) -> Iterator[None]:
    """A row of the story for each test. Not begun when the time is over."""
    record: Record = request.getfixturevalue("record")
    node = request.node
    record.begin(f"{node.path.stem.removeprefix('test_')}/{node.name.removeprefix('test_')}")
    begun = time.monotonic()
    if time.time() > settings.until() - 10:
        record.end("", "skipped: no time is left", 0)
        pytest.skip("no time is left (SPARK_CLUSTER_GPU_SECONDS)")
    yield
    reports = node.stash.get(_STASH, {})
    report = reports.get("call") or reports.get("setup")
    verdict = "broke off"
    if report is not None:
        verdict = {"passed": "pass", "failed": "FAIL", "skipped": "skipped"}[report.outcome]
        why = report.longrepr
        if report.outcome == "failed" and why is not None:
            record.keep("failure.txt", str(why))
            record.said(str(getattr(why, "reprcrash", None) or why)[-700:])
            record.grab()
        elif report.outcome == "skipped" and isinstance(why, tuple):
            record.said(str(why[2])[:300])
    document = (getattr(node, "function", None).__doc__ or "").strip()
    record.end(document, verdict, time.monotonic() - begun)
