"""Real Docker Compose accepts the files that we write. It needs no daemon for that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from spark_cluster.engines.compose import compose

from ..unit import world
from ..unit.test_compose import SINGLE


def _program() -> list[str]:
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and not _run([*words, "version"]).returncode:
            return words
    return []


def _run(words: list[str], **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_HOST": "unix:///nonexistent", **extra}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)


PROGRAM = _program()
pytestmark = pytest.mark.skipif(
    not PROGRAM, reason="no docker compose on this machine (apt install docker-compose)"
)


def version() -> tuple[int, ...]:
    said = _run([*PROGRAM, "version", "--short"]).stdout
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
    assert found, said
    return tuple(int(part) for part in found.groups())


@pytest.mark.parametrize("name", SINGLE)
def test_compose_accepts_a_recipe(tmp_path: Path, name: str) -> None:
    text = compose(world.deployment(name))
    if "\nconfigs:" in text and version() < (2, 23, 1):
        here = ".".join(map(str, version()))
        pytest.skip(f"`configs.content` needs Compose 2.23.1, not in Debian 12; here is {here}")
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    done = _run([*PROGRAM, "-f", str(path), "config"], HF_TOKEN="hf_x")
    assert done.returncode == 0, done.stderr
    (service,) = yaml.safe_load(done.stdout)["services"].values()
    (spec,) = world.deployment(name).containers
    assert service["container_name"] == spec.name
    # What Compose prints is a compose file again: its dollars are doubled.
    assert [word.replace("$$", "$") for word in service["command"]] == list(spec.command)
    if spec.secrets:
        assert service["environment"]["HF_TOKEN"] == "hf_x"
