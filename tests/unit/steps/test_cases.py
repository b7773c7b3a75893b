"""Every step, by the cases in cases/*.yaml; README.md says what a case may hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.step import Assessment, Change
from spark_cluster.facts.table import FACTS
from spark_cluster.steps import registry
from spark_cluster.steps.view import Options, View

from .. import world
from ..shell import shellcheck

FOLDER = Path(__file__).parent / "cases"

_KEYS = frozenset(
    {
        *("case", "host", "params", "options", "facts", "elsewhere", "first", "before", "output"),
        *("recipe", "secrets"),
        *("changes", "problems", "says", "waiting", "skipped", "notes", "bug"),
    }
)


def load(path: Path) -> list[dict[str, Any]]:
    cases = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(cases, list), path
    return cases


def parameters() -> list[Any]:
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for case in load(path):
            bug = case.get("bug")
            marks = [pytest.mark.xfail(strict=True, reason=bug)] if bug else []
            name = f"{path.stem}: {case['case']}"
            found.append(pytest.param(path.stem, case, id=name, marks=marks))
    return found


def text_of(fact: str, given: Any, host: str) -> str:
    """What the host's shell prints for the fact, as the case describes it."""
    assert fact in FACTS, f"there is no fact {fact!r}"
    if isinstance(given, str):
        return given
    if "running" in given:
        options = given["running"]
        text = world.running(host, **(options if isinstance(options, dict) else {}))
    else:
        text = world.healthy(fact, host)
    for old, new in given.get("replace", {}).items():
        assert old in text, f"{fact} of {host} does not hold {old!r}"
        text = text.replace(old, new)
    return text


def texts_of(facts: Mapping[str, Any] | None, host: str) -> dict[str, str]:
    return {fact: text_of(fact, given, host) for fact, given in (facts or {}).items()}


def view_of(case: Mapping[str, Any]) -> View:
    host = case.get("host", "spark-2")
    other = "spark-3" if host == "spark-2" else "spark-2"
    texts = {host: texts_of(case.get("facts"), host)}
    texts[other] = texts_of(case.get("elsewhere"), other)
    before = case.get("before")
    return world.view(
        host,
        texts,
        first=texts_of(case.get("first"), host),
        before=None if before is None else {n: texts_of(before, n) for n in world.PAIR},
        output=case.get("output"),
        options=Options(**case.get("options", {})),
        recipe=case.get("recipe", world.RECIPE),
        secrets=case.get("secrets"),
    )


def assess(step: str, case: Mapping[str, Any]) -> Assessment:
    known = registry()[step]
    view = view_of(case).seen_by(step, known.reads)
    assessment: Assessment = known.assess(view, known.params(**case.get("params", {})))
    return assessment


def parts(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given or [])


def in_words(change: Change) -> dict[str, str]:
    return {"what": change.what, "before": change.before, "after": change.after}


@pytest.mark.parametrize(("step", "case"), parameters())
def test_case(step: str, case: dict[str, Any]) -> None:
    assert set(case) <= _KEYS, f"unknown: {set(case) - _KEYS}"
    found = assess(step, case)
    wanted = case.get("changes", [])
    assert [in_words(change) for change in found.changes] == [
        {key: value for key, value in change.items() if key != "runs"} for change in wanted
    ]
    for change, want in zip(found.changes, wanted, strict=True):
        assert want.get("runs", "") in change.commands
        assert change.commands.endswith("\n")
    assert [problem.code for problem in found.problems] == case.get("problems", [])
    said = "\n".join(problem.what for problem in found.problems)
    for part in parts(case.get("says")):
        assert part in said
    lines = parts(case.get("waiting"))
    assert len(found.waiting) == len(lines), found.waiting
    for part, line in zip(lines, found.waiting, strict=True):
        assert part in line
    if "skipped" in case:
        assert case["skipped"] in (found.skipped or "")
        assert found.skipped
    else:
        assert found.skipped is None
    for part in parts(case.get("notes")):
        assert part in "\n".join(found.notes)


def test_every_step_has_a_case_of_its_own() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(registry())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_step_has_a_case_in_which_all_is_well_and_one_in_which_it_is_not(path: Path) -> None:
    kinds = {
        bool(case.get("changes") or case.get("problems") or case.get("waiting"))
        for case in load(path)
    }
    assert kinds == {True, False}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_shellcheck_finds_nothing_in_a_steps_changes(path: Path) -> None:
    cases = [case for case in load(path) if not case.get("bug")]
    scripts = {change.commands for case in cases for change in assess(path.stem, case).changes}
    for script in sorted(scripts):
        assert shellcheck(script) == ""


@pytest.mark.parametrize(("step", "case"), parameters())
def test_every_problem_has_a_diagnosis_and_a_remedy(step: str, case: dict[str, Any]) -> None:
    if case.get("bug"):
        pytest.xfail(case["bug"])
    for problem in assess(step, case).problems:
        assert problem.code in DIAGNOSES
        assert problem.remedy
        assert problem.what


@pytest.mark.parametrize("name", registry())
def test_a_step_reads_and_affects_known_facts(name: str) -> None:
    step = registry()[name]
    assert step.name == name
    assert set(step.reads) <= set(FACTS)
    assert set(step.affects) <= set(FACTS)
    assert step.reads
    assert step.title
