"""YAML of strangers ends soon, small, and with the line; pipes and devices are not waited for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from spark_cluster import bounded_yaml
from spark_cluster.core.error import InputError
from spark_cluster.document import Document, read, read_text, validate
from tests.command_line import Cli

from .cases import write
from .world import INVENTORY

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 9)
)
MERGED = "a0: &a0 {k: v, l: w}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 9)
)

BAD = [
    (BOMB, "aliases stand for more than 20000 values"),
    (MERGED, "aliases stand for more than 20000 values"),
    ("a: &a [*a]\n", "stands for something that holds it"),
    ("a: " + "[" * 200 + "]" * 200, "more than 64 levels"),
    ("a: [" + "x," * 30_000 + "]", "more than 20000 values"),
    ("a: " + "9" * 5000, "a number of more than 100 digits"),
    ("a: 0x" + "f" * 5000, "a number of more than 100 digits"),
    ("a: " + ":".join(["1"] * 2000), "a number of more than 100 digits"),
    ("a: " + "1" * 400 + ".5", "a number of more than 100 digits"),
    ("#" * (bounded_yaml.SIZE_LIMIT + 1), "it has more than 256 KiB"),
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=[said for _, said in BAD])
def test_a_bomb_is_refused_soon_and_in_few_words(text: str, said: str, tmp_path: Path) -> None:
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        read(write(tmp_path / "bomb.yaml", text))
    assert said in caught.value.message
    assert len(caught.value.message) < 200
    assert time.process_time() - started < 10


@pytest.mark.parametrize("text", [BOMB, MERGED])
def test_what_a_host_has_in_netplan_is_bounded_too(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        bounded_yaml.load(text)


def test_few_aliases_are_fine(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "a: &a {x: 1}\nb: *a\nc:\n  <<: *a\n  y: 2\n")
    assert read(path).data == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


class Small(Document):
    a: int


@pytest.mark.parametrize("value", ["[" + "x, " * 9000 + "]", "y" * 90_000, "{" + "}"])
def test_a_wrong_value_is_told_by_its_beginning(value: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        validate(read(write(tmp_path / "a.yaml", f"a: {value}\n")), Small)
    assert len(caught.value.remedy) < 300


def test_a_pipe_as_a_recipe_does_not_hang(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    said = cli("recipes", "show", str(tmp_path / "pipe.yaml"), "-i", INVENTORY)
    assert said.code == 2
    assert "it is a pipe" in said.err


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/tmp", "/proc/self/mem-none"])
def test_what_is_no_regular_file_is_refused(path: str) -> None:
    with pytest.raises(OSError):
        read_text(Path(path), 10)


# The files of a recipe

RECIPE = """\
name: mine
title: Mine
engine: vllm
image: x
model: a/b
nodes: 1
files:
  - source: SOURCE
    target: /x
"""


@pytest.mark.parametrize(
    "source",
    ["../outside.py", "/etc/passwd", "files/../../outside.py", "link.py", "files/linked/x", ".."],
)
def test_a_file_outside_the_recipes_folder_is_refused(
    source: str, cli: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "recipes"
    (folder / "files").mkdir(parents=True)
    (tmp_path / "outside.py").write_text("secret-of-the-controller\n")
    (folder / "link.py").symlink_to(tmp_path / "outside.py")
    (folder / "files" / "linked").symlink_to("/etc")
    path = write(folder / "mine.yaml", RECIPE.replace("SOURCE", source))
    said = cli("recipes", "show", str(path), "-i", INVENTORY)
    assert said.code == 2
    assert "outside the recipe's folder" in said.err
    assert f"{path}:8" in said.err
    assert "secret-of-the-controller" not in said.out + said.err


FILES = sorted(
    path
    for folder in ("inventory", "playbooks", "netplan", "tests/unit")
    for path in (Path(__file__).parents[2] / folder).rglob("*.y*ml")
)


def test_both_parsers_read_the_same_of_every_file_here() -> None:
    assert len(FILES) > 100
    for path in FILES:
        text = path.read_text(errors="replace")
        try:
            root, value = bounded_yaml._read(bounded_yaml._Loader(text))
        except (yaml.YAMLError, *bounded_yaml.LOADER_FAULTS):
            with pytest.raises((yaml.YAMLError, *bounded_yaml.LOADER_FAULTS)):
                bounded_yaml.parse(text)
            continue
        quick_root, quick = bounded_yaml.parse(text)
        assert quick == value, path
        assert type(quick_root) is type(root)
        if root and quick_root:
            assert quick_root.start_mark.line == root.start_mark.line


@pytest.mark.parametrize("text", ["[" * 200_000, "- " * 100_000, "{a: " * 60_000])
def test_any_depth_is_refused_before_anything_is_made_of_it(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="more than 64 levels"):
        bounded_yaml.parse(text)
