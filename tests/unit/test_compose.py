"""`compose`: the very spec that launch starts, as a docker compose file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from spark_cluster import places
from spark_cluster.engines.compose import compose
from spark_cluster.engines.spec import docker_run
from spark_cluster.recipes.loader import load
from tests.command_line import Cli, assert_told

from . import world
from .cases import refused, write
from .world import INVENTORY

FOLDER = places.shipped("playbooks") / "recipes"
SINGLE = sorted(
    path.stem for path in FOLDER.glob("*.yaml") if load(str(path), {}).nodes == 1
)  # fmt: skip


def document(name: str) -> dict[str, Any]:
    found = yaml.safe_load(compose(world.deployment(name)))
    assert isinstance(found, dict)
    return found


def service(name: str) -> dict[str, Any]:
    (found,) = document(name)["services"].values()
    assert isinstance(found, dict)
    return found


def undollared(value: Any) -> Any:
    """What Compose makes of a text without variables."""
    return value.replace("$$", "$") if isinstance(value, str) else value


@pytest.mark.parametrize("name", SINGLE)
def test_it_says_what_docker_run_says(name: str) -> None:
    (spec,) = world.deployment(name).containers
    pinned = world.deployment(name).image_digest[7:19]
    text = docker_run(spec).replace('"$SPARK_HOME"', "~").replace('"$_image"', pinned)
    words = shlex.split(text)
    found = service(name)
    assert found["image"] == spec.image
    assert found["container_name"] == spec.name
    assert tuple(undollared(word) for word in found["command"]) == spec.command
    assert [undollared(w) for w in found.get("entrypoint", [])] == (
        [spec.entrypoint] if spec.entrypoint else []
    )
    plain = {k: undollared(v) for k, v in found.get("environment", {}).items()}
    assert {k: v for k, v in plain.items() if k not in spec.secrets} == dict(spec.env)
    assert found["network_mode"] == words[words.index("--network") + 1]
    assert found["ipc"] == words[words.index("--ipc") + 1]
    for volume in found["volumes"]:
        assert words[words.index(volume) - 1] == "-v"
    options = [f"--security-opt={each}" for each in found.get("security_opt", [])]
    assert [word for word in words if word.startswith("--security-opt")] == options
    limits = [words[i + 1] for i, word in enumerate(words) if word == "--ulimit"]
    assert [f"{key}={value}" for key, value in found["ulimits"].items()] == limits


@pytest.mark.parametrize("name", SINGLE)
def test_the_gpu_the_restart_and_the_health(name: str) -> None:
    found = service(name)
    (device,) = found["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert found["restart"] == "unless-stopped"
    assert found["healthcheck"]["test"][0] == "CMD"
    assert found["healthcheck"]["start_period"].endswith("s")


def test_the_token_comes_from_the_environment() -> None:
    assert service("qwen3-32b-fp8")["environment"]["HF_TOKEN"] == "${HF_TOKEN:-}"
    assert ".env beside this one" in compose(world.deployment("qwen3-32b-fp8"))


def test_the_recipes_file_is_in_it() -> None:
    found = document("ollama-qwen3-32b")
    assert (
        found["configs"]["modelfile"]["content"]
        == (FOLDER / "files/Modelfile-qwen3-32b").read_text()
    )
    assert service("ollama-qwen3-32b")["configs"] == [
        {"source": "modelfile", "target": "/Modelfile"}
    ]
    assert not [v for v in service("ollama-qwen3-32b")["volumes"] if "Modelfile" in v]


def test_dollars_are_not_composes() -> None:
    (word,) = [w for w in service("ollama-qwen3-32b")["command"] if "serve" in w]
    assert "server=$$!" in word
    assert "$$server" in word


def test_several_hosts_are_refused() -> None:
    error = refused(lambda: compose(world.deployment()))
    assert "qwen3-vl-235b needs 2 hosts; docker compose knows one" in error.message
    assert re.match(r"`spark-cluster launch \S+/qwen3-vl-235b.yaml` starts it", error.remedy)


def test_the_command_line(cli: Cli, tmp_path: Path) -> None:
    said = cli("compose", "qwen3-32b-fp8", "--profile", "latency", "-i", INVENTORY)
    assert said.code == 0
    (found,) = yaml.safe_load(said.out)["services"].values()
    assert found["command"][found["command"].index("--max-num-seqs") + 1] == "16"
    path = tmp_path / "qwen.yaml"
    said = cli("compose", "qwen3-32b-fp8", "-o", str(path), "-i", INVENTORY)
    assert said.code == 0
    assert f"docker compose -f {path} up -d" in said.out
    assert yaml.safe_load(path.read_text())["services"]
    refused_ = cli("compose", "qwen3-vl-235b", "-i", INVENTORY)
    assert refused_.code == 2
    assert "docker compose knows one" in refused_.err
    nowhere = cli("compose", "qwen3-32b-fp8", "-o", str(tmp_path / "no/where"), "-i", INVENTORY)
    assert nowhere.code == 2


def test_the_head_is_the_command_that_made_it(cli: Cli) -> None:
    text = "name: mine\nextends: qwen3-32b-fp8\noptions: {a: {why: x}, b: {why: y}}\n"
    path = write(Path("my recipe.yaml"), text)
    chosen = ("--profile", "latency", "--with", "a", "--with", "b")
    said = cli("compose", str(path), *chosen, "-i", INVENTORY)
    assert said.code == 0
    made = re.search(r"made by `(.*)`", said.out)
    assert made is not None
    assert made[1] == "spark-cluster compose 'my recipe.yaml' --profile latency --with a,b"
    assert cli(*shlex.split(made[1])[1:], "-i", INVENTORY).out == said.out


def test_a_recipe_of_several_hosts_is_named_as_it_was_asked_for(cli: Cli) -> None:
    path = write(Path("mine.yaml"), "name: other\nextends: qwen3-vl-235b\n")
    said = cli("compose", f"./{path}", "-i", INVENTORY)
    assert said.code == 2
    assert "next: `spark-cluster launch ./mine.yaml` starts it" in said.err


def test_what_lint_refuses_is_not_written(cli: Cli) -> None:
    text = (
        "name: mine\nextends: qwen3-32b-fp8\nimage: example.org/vllm:latest\n"
        "engine_version: 0.26.0\nenv: {VLLM_ATTENTION_BACKEND: TRITON_ATTN}\n"
    )
    path = write(Path("mine.yaml"), text)
    words = ("compose", str(path), "-o", "made.yaml", "-i", INVENTORY)
    said = cli(*words)
    assert_told(said, f"{path.absolute()}:5: VLLM_ATTENTION_BACKEND is gone", "RECIPE003")
    assert not Path("made.yaml").exists()
    said = cli(*words, "--anyway")
    assert said.code == 0
    assert yaml.safe_load(Path("made.yaml").read_text())["services"]
    assert "`spark-cluster compose mine.yaml --anyway`" in Path("made.yaml").read_text()
    notes = said.err.splitlines()
    assert [note.split(" at ")[0] for note in notes] == [
        "lint: error RECIPE003", "lint: warning RECIPE006",
    ]  # fmt: skip
    to_stdout = cli("compose", str(path), "--anyway", "-i", INVENTORY)
    assert to_stdout.err == said.err
    assert yaml.safe_load(to_stdout.out)["services"]


def test_the_file_needs_no_group(cli: Cli, tmp_path: Path) -> None:
    inventory = Path(INVENTORY).read_text(encoding="utf-8")
    groups = "groups:\n  left: [spark-2]\n  right: [spark-3]\n"
    path = write(
        tmp_path / "hosts.yaml", re.sub(r"(?ms)^groups:\n(?:[ #].*?\n)+", groups, inventory)
    )
    one, other = (cli("compose", "qwen3-32b-fp8", "-i", where) for where in (INVENTORY, str(path)))
    assert (other.code, other.out) == (0, one.out)
