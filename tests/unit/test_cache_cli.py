"""`cache ls` and `rm`: what engines compiled, by recipe, rank and image."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.engines.common import COMPILED as FOLDER
from spark_cluster.facts.compiled import COMPILED_FACT, parse
from tests.command_line import Cli

from . import world
from .shell import sh
from .world import INVENTORY, Spark

HERE, GONE = "1d5e4b6f2a3c", "ffffffffffff"


def keeping(name: str, *folders: str) -> Spark:
    """A host with one image, which keeps these folders of 2 MiB each."""
    (host,) = world.sparks(name)
    host.texts["images"] = f'sha256:{HERE}{"0" * 52} 5000 ["nvcr.io/a:1"] []\n'
    host.texts["compiled"] = "".join(f"2048\t{FOLDER}/{folder}\n" for folder in folders)

    def remove(script: str) -> str:
        for path in re.findall(r"rm -rf -- (\S+)", script):
            kept = [
                x for x in host.texts["compiled"].splitlines(True) if not x.endswith(f"{path}\n")
            ]
            host.texts["compiled"] = "".join(kept)
        return ""

    host.on(re.compile("rm -rf -- "), remove)
    return host


MINE = (f"qwen3-vl-235b/rank-0/{HERE}", f"qwen3-vl-235b/rank-0/{GONE}", f"other/rank-0/{HERE}")


def listed(cli: Cli, *hosts: Spark, code: int = 0) -> list[tuple[str, str]]:
    said = cli("cache", "ls", "--json", "-i", INVENTORY, "--hosts", "spark-2", hosts=[*hosts])
    assert said.code == code, said
    found = json.loads(said.out)
    return [(f"{each['recipe']}/{each['image']}", each["state"]) for each in found["caches"]]


def test_each_folder_is_kept_used_or_stale(cli: Cli) -> None:
    host = keeping("spark-2", *MINE)
    assert listed(cli, host) == [
        (f"other/{HERE}", "kept"), (f"qwen3-vl-235b/{HERE}", "kept"),
        (f"qwen3-vl-235b/{GONE}", "stale"),
    ]  # fmt: skip
    host.texts["containers"] = world.running("spark-2")
    assert (f"qwen3-vl-235b/{HERE}", "used") in listed(cli, host)
    host.texts["images"] = "error no docker\n"
    assert {state for _, state in listed(cli, host)} == {"unknown"}


def test_stale_ones_go_and_the_others_stay(cli: Cli) -> None:
    host = keeping("spark-2", *MINE)
    words = ("cache", "rm", "--stale", "-i", INVENTORY, "--hosts", "spark-2")
    said = cli(*words, hosts=[host])
    assert said.code == 0, said
    assert "1 folder, 2 MiB freed" in said.out
    assert [name for name, _ in listed(cli, host)] == [f"other/{HERE}", f"qwen3-vl-235b/{HERE}"]


def test_what_runs_keeps_its_own(cli: Cli) -> None:
    host = keeping("spark-2", *MINE)
    host.texts["containers"] = world.running("spark-2")
    said = cli("cache", "rm", "-i", INVENTORY, "--hosts", "spark-2", hosts=[host])
    assert "left: qwen3-vl-235b rank 0, which runs" in said.out
    assert listed(cli, host) == [(f"qwen3-vl-235b/{HERE}", "used")]


def test_only_the_recipe_that_is_named(cli: Cli) -> None:
    host = keeping("spark-2", *MINE)
    assert (
        cli("cache", "rm", "other", "-i", INVENTORY, "--hosts", "spark-2", hosts=[host]).code == 0
    )
    assert len(listed(cli, host)) == 2


def test_an_empty_host_says_so(cli: Cli) -> None:
    said = cli("cache", "ls", "-i", INVENTORY, "--hosts", "spark-2", hosts=[keeping("spark-2")])
    assert said.out == "nothing that engines compiled is kept on these hosts\n"
    assert sh(COMPILED_FACT.script(world.context("spark-2"))) == ""


@given(st.text())
def test_no_other_folder_is_ever_named(text: str) -> None:
    for line in (text, f"1\t{FOLDER}/{text}", f"1\t{FOLDER}/a/rank-0/{text}"):
        for each in parse(line):
            assert re.fullmatch(rf"{FOLDER}/[a-z0-9._-]+/rank-\d+/[0-9a-f]{{12}}", each.path)
            assert "/../" not in each.path
