"""docs/recipes.md names every field, and its examples are recipes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from spark_cluster import places
from spark_cluster.recipes import loader
from spark_cluster.recipes.models import Recipe

from .cases import write

PAGE = places.shipped("playbooks").parent / "docs" / "recipes.md"


def test_every_field_is_in_the_table() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## Every field")[2]
    named = {name for row in table.split("\n") if row[:1] == "|"
             for name in re.findall(r"`(\w+)`", row.split("|")[1])}  # fmt: skip
    assert named == set(Recipe.model_fields)


def test_the_example_loads_at_every_stage(tmp_path: Path) -> None:
    first, reasons, pair, pinned = map(
        yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    )
    whole = {**first, **reasons, "args": {**first["args"], **reasons["args"]}}
    path = write(tmp_path / "my-model.yaml", yaml.safe_dump(whole))
    assert set(loader.load(str(path), {}).profiles) == {"context"}
    two = {**pair, **pinned, "args": {**pair["args"], **pinned["args"]}}
    found = loader.load(str(write(tmp_path / "my-model-pair.yaml", yaml.safe_dump(two))), {})
    assert [each.model for each in found.drafts] == ["z-lab/Qwen3.8-27B-DFlash2"]
    assert found.nodes == 2
    assert found.args["max-model-len"].value == 65536
