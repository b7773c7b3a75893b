"""Lint: each rule by a change to a sound recipe (data/lint/cases.yaml), and what launch does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from spark_cluster import places
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.recipes import loader
from spark_cluster.recipes.lint import lint, lint_overlays, refuse
from spark_cluster.recipes.lint_finding import Finding
from spark_cluster.recipes.lint_versions import vllm
from spark_cluster.recipes.models import Recipe

from . import world
from .cases import refused, write

CASES = yaml.safe_load((world.DATA / "lint" / "cases.yaml").read_text(encoding="utf-8"))
SHIPPED = sorted((places.shipped("playbooks") / "recipes").glob("*.yaml"))

SOUND: dict[str, Any] = {
    "name": "sound",
    "title": "Sound",
    "engine": "vllm-ray",
    "image": "example.org/vllm:0.14.0",
    "engine_version": "0.14.0",
    "model": "org/model",
    "nodes": 2,
    "requires": {"memory_gib": 10},
    "args": {"tensor-parallel-size": 2, "distributed-executor-backend": "ray"},
    "env": {"RAY_memory_monitor_refresh_ms": 0},
}


def changed(change: Mapping[str, Any]) -> dict[str, Any]:
    """The sound recipe with the change; null takes an argument or a variable out."""
    merged = {**SOUND, **change}
    for field in ("args", "env"):
        both = {**SOUND[field], **change.get(field, {})}
        merged[field] = {key: value for key, value in both.items() if value is not None}
    return merged


def found_in(recipe: Recipe) -> list[Finding]:
    return [*lint(recipe), *lint_overlays(recipe)]


def in_words(finding: Finding) -> str:
    return f"{finding.severity} {finding.code} {'.'.join(map(str, finding.loc))}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_case(case: dict[str, Any]) -> None:
    assert set(case) <= {"case", "change", "finds", "says", "next"}
    found = found_in(Recipe.model_validate(changed(case.get("change", {}))))
    assert [in_words(finding) for finding in found] == case.get("finds", [])
    assert case.get("says", "") in "\n".join(finding.what for finding in found)
    assert case.get("next", "") in "\n".join(finding.remedy for finding in found)
    for finding in found:
        assert finding.code in DIAGNOSES
        assert finding.remedy.endswith((".", "?"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_has_no_error(path: Path) -> None:
    recipe = loader.load(str(path), {})
    found = found_in(recipe)
    assert [finding.what for finding in found if finding.is_error] == []
    if not recipe.known_broken:
        assert [finding.what for finding in found] == []


def test_a_row_names_a_release_and_its_source() -> None:
    for row in vllm().releases:
        assert row.since or row.gone, row.names
        for release in filter(None, (row.since, row.gone)):
            Version(release)
        assert row.effect
        assert row.source


@given(
    st.dictionaries(st.sampled_from([name for name, _ in vllm().rows()] + ["port", "x"]),
                    st.none() | st.booleans() | st.integers() | st.text(max_size=5)),
    st.text(max_size=8), st.sampled_from(["vllm-ray", "vllm-mp", "sglang", "trtllm"]),
)  # fmt: skip
def test_whatever_a_recipe_says_lint_has_an_answer(
    values: dict[str, Any], version: str, engine: str
) -> None:
    data = {**SOUND, "engine": engine, "engine_version": version, "args": values}
    for finding in lint(Recipe.model_validate(data)):
        assert finding.remedy


# Refusing a launch


def test_an_error_refuses_with_file_and_line(tmp_path: Path) -> None:
    text = yaml.safe_dump(changed({"engine_version": "0.26.0"}), sort_keys=False)
    path = write(tmp_path / "r.yaml", text + "port: 8001\n")
    sound = loader.load(str(path), {})
    refuse(sound, lambda loc: loader.place(sound, loc))

    env = "env:\n  RAY_memory_monitor_refresh_ms: 0\n"
    assert env in text
    spoilt = text.replace(env, env + "  VLLM_ATTENTION_BACKEND: X\n  NCCL_IB_GID_INDEX: 3\n")
    path = write(tmp_path / "r.yaml", spoilt)
    recipe = loader.load(str(path), {})
    error = refused(lambda: refuse(recipe, lambda loc: loader.place(recipe, loc)))
    line = spoilt.splitlines().index("  VLLM_ATTENTION_BACKEND: X") + 1
    assert error.place == f"{path}:{line}"
    assert error.code == "RECIPE003"
    assert error.message.startswith("VLLM_ATTENTION_BACKEND is gone")
    assert f"(and 1 more: `spark-cluster recipes lint {path}`)" in error.message


def test_the_place_is_in_the_file_that_has_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    base = write(
        tmp_path / "playbooks" / "recipes" / "base.yaml",
        yaml.safe_dump(changed({"env": {"NCCL_IB_GID_INDEX": 3}}), sort_keys=False),
    )
    child = write(tmp_path / "mine.yaml", "name: mine\nextends: base\nengine_version: latest\n")
    recipe = loader.load(str(child), {})
    places_ = {finding.code: loader.place(recipe, finding.loc) for finding in lint(recipe)}
    lines = base.read_text(encoding="utf-8").splitlines()
    assert places_["RECIPE004"] == f"{base}:{lines.index('  NCCL_IB_GID_INDEX: 3') + 1}"
    assert places_["RECIPE006"] == f"{child}:3"
