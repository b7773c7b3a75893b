"""Real Docker Compose accepts the files that we write. It needs no daemon for that."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from spark_cluster.engines.compose import compose

from .. import compose_program
from ..unit import world
from ..unit.test_compose import SINGLE


@pytest.mark.parametrize("name", SINGLE)
def test_compose_accepts_a_recipe(tmp_path: Path, name: str) -> None:
    text = compose(world.deployment(name))
    # `configs.content` is younger than the rest.
    program = compose_program.needed(*((2, 23, 1) if "\nconfigs:" in text else ()))
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    done = program.run("-f", str(path), "config", HF_TOKEN="hf_x")
    assert done.returncode == 0, done.stderr
    (service,) = yaml.safe_load(done.stdout)["services"].values()
    (spec,) = world.deployment(name).containers
    assert service["container_name"] == spec.name
    # What Compose prints is a compose file again: its dollars are doubled.
    assert [word.replace("$$", "$") for word in service["command"]] == list(spec.command)
    if spec.secrets:
        assert service["environment"]["HF_TOKEN"] == "hf_x"
