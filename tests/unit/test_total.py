"""The sum of the parts of `make test`."""

from __future__ import annotations

from pathlib import Path

from tests.total import total

from .cases import write


def report(passed: int, failures: int = 0, errors: int = 0, skipped: int = 0) -> str:
    tests = passed + failures + errors + skipped
    return (
        f'<testsuites><testsuite name="pytest" errors="{errors}" failures="{failures}" '
        f'skipped="{skipped}" tests="{tests}" time="1.25"/></testsuites>'
    )


def test_the_parts_are_added_up(tmp_path: Path) -> None:
    write(tmp_path / "unit.xml", report(4000, skipped=8))
    write(tmp_path / "lab.xml", report(14, failures=1, errors=2, skipped=1))
    assert total(tmp_path) == "1 failed, 4014 passed, 9 skipped, 2 errors in 2.50s"


def test_without_a_report_nothing_is_claimed(tmp_path: Path) -> None:
    assert total(tmp_path) == "no tests ran in 0.00s"
