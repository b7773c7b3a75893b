"""The tables that ship as data files: each is read by its model, and says nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

import spark_cluster
from spark_cluster import bounded_yaml
from spark_cluster.core.data_files import read_yaml
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.document import Document
from spark_cluster.recipes import known_models, lint_settings, lint_versions
from spark_cluster.recipes.foreign import formats
from spark_cluster.serving import marks, metrics, signs

ROOT = Path(spark_cluster.__file__).parent

TABLES: dict[str, Callable[[], object]] = {
    "recipes/foreign/formats.yaml": formats.formats,
    "recipes/known_models.yaml": lambda: known_models.heads_of("Qwen/Qwen3-32B-FP8"),
    "recipes/lint.yaml": lint_settings.given_by_us,
    "recipes/vllm.yaml": lint_versions.vllm,
    "serving/marks.yaml": marks.marks,
    "serving/metrics.yaml": lambda: metrics.read("vllm:num_requests_running 1"),
    "serving/signs.yaml": signs.table,
}


def test_every_table_is_here() -> None:
    found = {path for room in ("recipes", "serving") for path in (ROOT / room).rglob("*.yaml")}
    assert {str(path.relative_to(ROOT)) for path in found} == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_read_and_has_no_key_twice(name: str) -> None:
    assert TABLES[name]()
    assert bounded_yaml.load((ROOT / name).read_text())


def test_every_setting_has_a_diagnosis_and_can_be_told() -> None:
    for rows in lint_settings.table().settings.values():
        for row in rows:
            assert row.code in DIAGNOSES
            assert row.what.format(name="A", value="b", version="1")
            assert row.remedy.endswith(".")


def test_a_table_with_a_field_too_many_is_refused() -> None:
    class Half(Document):
        heads: dict[str, int]

    with pytest.raises(ValidationError, match="models"):
        read_yaml(Half, "spark_cluster.recipes", "known_models.yaml")
