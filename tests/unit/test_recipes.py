"""Recipes: each fault with its line and remedy, `extends`, and the recipes that ship."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from spark_cluster import places
from spark_cluster.engines.common import environment
from spark_cluster.engines.placement import place
from spark_cluster.recipes.choose import choose
from spark_cluster.recipes.loader import file_contents, known, load, own_recipes
from spark_cluster.recipes.models import Recipe

from . import world
from .cases import refused, refused_as_its_head_says, write

CASES = sorted((world.DATA / "recipes").glob("*.yaml"))
SHIPPED = sorted((places.shipped("playbooks") / "recipes").glob("*.yaml"))

BASE = """\
name: base
title: Base
engine: vllm-ray
image: nvcr.io/nvidia/vllm:25.11-py3
engine_version: 0.11.0
model: org/model
nodes: 2
requires: {memory_gib: 10, disk_gib: 2}
args:
  tensor-parallel-size: {value: 2, why: two hosts}
  quantization: {value: awq, why: it fits}
env:
  NCCL_DEBUG: INFO
files:
  - {source: files/hook.py, target: /hook.py}
measured:
  - {what: decode, value: 3 tok/s}
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of recipes, with `base` in it; it is where the program looks first."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "playbooks" / "recipes"
    write(folder / "base.yaml", BASE)
    write(folder / "files" / "hook.py", "print('hook')")
    return folder


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_fault_names_file_line_field_and_what_would_be_right(path: Path) -> None:
    refused_as_its_head_says(path, lambda: load(str(path), {}))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_loads_and_gives_its_reasons(path: Path) -> None:
    recipe = load(str(path), {})
    assert recipe.name == path.stem
    assert recipe.path == path
    assert all(file_contents(recipe).values())
    unexplained = [
        key
        for key, choice in {**recipe.args, **recipe.env}.items()
        if choice.value is not None and not choice.why.strip()
    ]
    assert unexplained == []


def test_the_first_recipe_holds_what_the_field_found() -> None:
    recipe = load(world.RECIPE, {})
    assert recipe.image == "nvcr.io/nvidia/vllm:25.11-py3"
    assert recipe.rails == "single"
    assert {key: choice.text for key, choice in recipe.args.items()} == {
        "tensor-parallel-size": "2",
        "trust-remote-code": "1",
        "quantization": "awq",
        "gpu-memory-utilization": "0.70",
        "kv-cache-dtype": "fp8",
        "max-num-batched-tokens": "2048",
        "scheduling-policy": "priority",
        "mm-encoder-tp-mode": "data",
        "distributed-executor-backend": "ray",
    }
    env = {key: choice.text for key, choice in recipe.env.items()}
    assert env["VLLM_ATTENTION_BACKEND"] == "TRITON_ATTN"
    assert env["VLLM_SLEEP_WHEN_IDLE"] == "1"
    assert env["RAY_memory_monitor_refresh_ms"] == "0"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert [file.target for file in recipe.files] == ["/usr/lib/python3.12/sitecustomize.py"]
    (text,) = file_contents(recipe).values()
    assert "backends.cudnn.enabled = False" in text


def test_an_unknown_recipe_suggests_one(shelf: Path) -> None:
    error = refused(lambda: load("qwen3-vl-235", {}))
    assert "'qwen3-vl-235'" in error.message
    assert "Did you mean `qwen3-vl-235b`?" in error.remedy
    assert "base" in error.remedy


def test_a_recipe_may_be_a_file(shelf: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "elsewhere" / "mine.yml", BASE.replace("files:\n  - {", "measured0:"))
    error = refused(lambda: load(str(path), {}))
    assert error.place is not None
    assert error.place.startswith(f"{path}:")
    error = refused(lambda: load(str(tmp_path / "none.yaml"), {}))
    assert "none.yaml" in error.message


def test_a_recipe_of_the_inventory_wins(shelf: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "lab" / "base.yaml", BASE.replace("title: Base", "title: Lab's"))
    own = own_recipes(tmp_path / "lab" / "sparks.yaml", {"base": "base.yaml"})
    assert own == {"base": path}
    assert load("base", own).title == "Lab's"
    assert load("base", {}).title == "Base"
    assert known(own)["base"] == path


@pytest.mark.parametrize(
    ("file", "text", "line", "remedy"),
    [
        ("other.yaml", BASE, 1, "Write `name: other` there, or rename the file to base.yaml."),
        ("other.yaml", "extends: base\n", 1, "Write `name: other` there"),
        ("Big One.yaml", BASE, 1, "Rename the file to base.yaml."),
        (
            "Big One.yaml",
            "model: org/m\nruntime: vllm\ncontainer: example.org/vllm:0.16.0\nname: Big\n",
            4,
            "Rename the file to big-one.yaml.",
        ),
    ],
)
def test_a_recipe_of_a_folder_is_called_as_its_file(
    shelf: Path, file: str, text: str, line: int, remedy: str
) -> None:
    path = write(shelf / file, text)
    for asked in (path.stem, str(path)):
        error = refused(functools.partial(load, asked, {}))
        assert error.message.startswith("name: ")
        assert path.name in error.message
        assert error.place == f"{path}:{line}"
        assert error.remedy.startswith(remedy)


def test_a_file_elsewhere_may_have_any_name(shelf: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "elsewhere" / "other.yaml", "extends: base\n")
    assert load(str(path), {}).name == "base"
    assert load("alias", {"alias": path}).name == "base"


# extends


def child(shelf: Path, text: str, name: str = "child") -> Recipe:
    write(shelf / f"{name}.yaml", f"name: {name}\n{text}")
    return load(name, {})


def test_a_child_changes_only_what_it_names(shelf: Path) -> None:
    recipe = child(
        shelf,
        "extends: base\nnote: small\nrequires: {memory_gib: 1}\nenv: {EXTRA: 7}\n"
        "args:\n  quantization: gptq\n  max-model-len: {value: 512, why: small}\n",
    )
    assert (recipe.name, recipe.title, recipe.model) == ("child", "Base", "org/model")
    assert recipe.requires.memory_gib == 1
    assert recipe.requires.disk_gib == 2
    assert {key: choice.value for key, choice in recipe.args.items()} == {
        "tensor-parallel-size": 2,
        "quantization": "gptq",
        "max-model-len": 512,
    }
    assert recipe.args["quantization"].why == ""  # the parent's reason was for another value
    assert {key: choice.text for key, choice in recipe.env.items()} == {
        "NCCL_DEBUG": "INFO",
        "EXTRA": "7",
    }
    assert recipe.chain == (shelf / "child.yaml", shelf / "base.yaml")


def test_a_list_replaces_a_list(shelf: Path) -> None:
    recipe = child(shelf, "extends: base\nmeasured: [{what: a, value: b}]\n")
    assert [seen.what for seen in recipe.measured] == ["a"]


def test_null_removes(shelf: Path) -> None:
    recipe = child(shelf, "extends: base\nargs: {quantization: null}\nenv: null\nfiles: null\n")
    assert list(recipe.args) == ["tensor-parallel-size"]
    assert recipe.env == {}


@pytest.mark.parametrize("null", ["null", "{value: null}"])
def test_a_variable_that_is_null_is_left_out_also_where_the_engine_sets_it(
    shelf: Path, null: str
) -> None:
    """models.py says so of a recipe that extends none."""
    write(shelf / "base.yaml", BASE + "profiles: {p: {why: x, env: {NCCL_DEBUG: WARN}}}\n")
    text = f"extends: base\nenv: {{NCCL_NET: {null}, NCCL_DEBUG: {null}}}\n"
    text += f"profiles: {{p: {{env: {{NCCL_DEBUG: {null}}}, args: {{quantization: {null}}}}}}}\n"
    recipe = child(shelf, text)
    assert {name: choice.value for name, choice in recipe.env.items()} == {
        "NCCL_NET": None, "NCCL_DEBUG": None,
    }  # fmt: skip
    placement = place(recipe, world.inventory(), "pair", world.PAIR)
    assert "NCCL_NET" in environment(load("base", {}), placement, 0, {})
    assert not {"NCCL_NET", "NCCL_DEBUG"} & environment(recipe, placement, 0, {}).keys()
    chosen = choose(recipe, "p")
    assert chosen.env["NCCL_DEBUG"].value is None
    assert chosen.args["quantization"].value is None


def test_null_removes_the_files(shelf: Path) -> None:
    assert child(shelf, "extends: base\nfiles: null\n").files == ()


def test_a_chain_of_three(shelf: Path) -> None:
    child(shelf, "extends: base\nport: 8001\nargs: {quantization: gptq}\n", "middle")
    recipe = child(shelf, "extends: middle\nargs: {tensor-parallel-size: 1}\n", "leaf")
    assert recipe.port == 8001
    assert {key: choice.value for key, choice in recipe.args.items()} == {
        "tensor-parallel-size": 1,
        "quantization": "gptq",
    }
    assert [path.stem for path in recipe.chain] == ["leaf", "middle", "base"]


def test_files_are_found_beside_the_recipe_that_names_them(shelf: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "lab" / "child.yaml", "name: child\nextends: base\n")
    recipe = load(str(path), {})
    assert recipe.files[0].source == str(shelf / "files/hook.py")
    assert file_contents(recipe) == {str(shelf / "files/hook.py"): "print('hook')\n"}


def test_a_file_that_is_not_there(shelf: Path) -> None:
    (shelf / "files" / "hook.py").unlink()
    recipe = load("base", {})
    error = refused(lambda: file_contents(recipe))
    assert "files[0].source" in error.message
    assert error.place == str(shelf / "base.yaml")


def test_a_recipe_of_the_inventory_may_extend_ours_of_the_same_name(
    shelf: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "lab" / "base.yaml", "name: base\nextends: base\nport: 9000\n")
    recipe = load("base", {"base": path})
    assert recipe.chain == (path, shelf / "base.yaml")
    assert recipe.port == 9000


@pytest.mark.parametrize("names", [("one",), ("one", "two"), ("one", "two", "three")])
def test_a_circle_is_refused(shelf: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        parent = names[(number + 1) % len(names)]
        write(shelf / f"{name}.yaml", f"name: {name}\nextends: {parent}\n")
    error = refused(lambda: load(names[0], {}))
    assert error.place is not None
    assert error.place.endswith(":2")
    if len(names) > 1:
        assert "circle" in error.message


def test_an_unknown_parent_of_the_parent_is_the_parents_fault(shelf: Path) -> None:
    write(shelf / "middle.yaml", "name: middle\nextends: bose\n")
    error = refused(lambda: child(shelf, "extends: middle\n"))
    assert error.place == f"{shelf / 'middle.yaml'}:2"
    assert "Did you mean `base`?" in error.remedy


@pytest.mark.parametrize(
    ("wrong_in", "base", "text", "line", "says"),
    [
        ("child", "", "extends: base\nprot: 1\n", 3, "prot: there is no such field"),
        ("child", "", "extends: base\nargs:\n  a: {wy: b, value: 1}\n", 4, "args.a.wy"),
        ("base", "prot: 1\n", "extends: base\nport: 8001\n", 18, "prot: there is no such field"),
        ("base", "ray:\n  prot: 1\n", "extends: base\nray: {port: 7000}\n", 19, "ray.prot"),
        ("base", "shape: {layers: 0, hidden_size: 1}\n", "extends: base\n", 18, "shape.layers"),
        ("child", "ray: {port: 7000}\n", "extends: base\nray: {port: 1}\n", 3, "ray.port"),
    ],
)
def test_a_fault_is_placed_in_the_file_that_has_it(
    shelf: Path, wrong_in: str, base: str, text: str, line: int, says: str
) -> None:
    write(shelf / "base.yaml", BASE + base)
    error = refused(lambda: child(shelf, text))
    assert says in error.message
    assert error.place == f"{shelf / wrong_in}.yaml:{line}"


def test_an_argument_is_one_however_it_is_spelled(tmp_path: Path) -> None:
    text = (
        "name: mine\nextends: qwen3-vl-235b\n"
        "args: {max_model_len: 1024, gpu_memory_utilization: null, "
        "compilation_config.cudagraph_mode: NONE}\n"
        "profiles: {small: {why: for the test, args: {max_model_len: 512}}}\n"
    )
    found = load(str(write(tmp_path / "mine.yaml", text)), {})
    assert found.args["max-model-len"].value == 1024
    assert "gpu-memory-utilization" not in found.args
    assert found.args["compilation-config.cudagraph_mode"].value == "NONE"
    assert not [name for name in found.args if "_" in name.partition(".")[0]]
    assert choose(found, "small").args["max-model-len"].value == 512
    mpi = "name: mine\nextends: qwen3-235b-trtllm\nargs: {max-batch-size: 2}\n"
    found = load(str(write(tmp_path / "mpi.yaml", mpi)), {})
    assert found.args["max_batch_size"].value == 2
    assert "max-batch-size" not in found.args


def test_an_argument_spelled_twice_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.yaml",
        "name: mine\nextends: qwen3-vl-235b\nargs:\n  max_model_len: 1\n  max-model-len: 2\n",
    )
    error = refused(lambda: load(str(path), {}))
    assert "max_model_len and max-model-len are one argument" in error.message
    assert error.place == f"{path}:3"
