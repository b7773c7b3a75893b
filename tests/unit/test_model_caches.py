"""Which folders on the hosts `model` reads and fills: the default, and those that recipes name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from spark_cluster.recipes.naming import DEFAULT_CACHE
from tests.command_line import Cli, assert_told

from .cases import write
from .test_model_cli import MODEL, RECIPE, TWO, Node, listing, without_pauses
from .world import INVENTORY


@pytest.fixture
def cli(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return without_pauses(cli, monkeypatch)


#: A shipped recipe that keeps its model in a folder of its own.
QWEN, QWEN_RECIPE, OWN_CACHE = "Qwen/Qwen3-32B-FP8", "qwen3-32b-fp8", "/opt/hf"


def caches_read(host: Node) -> list[str]:
    (job,) = re.findall(r'\{"caches": \[.*\]\}', "".join(host.scripts))
    found: list[str] = json.loads(job)["caches"]
    return found


@pytest.mark.parametrize(
    ("words", "caches"),
    [
        ((), [DEFAULT_CACHE, OWN_CACHE]),
        ((QWEN,), [DEFAULT_CACHE, OWN_CACHE]),
        (("--cache", "/srv/hf/"), ["/srv/hf"]),
        ((QWEN_RECIPE,), [OWN_CACHE]),
        ((RECIPE,), [DEFAULT_CACHE]),
    ],
)
def test_ls_reads_the_folders_of_all_recipes_unless_one_is_named(
    words: tuple[str, ...], caches: list[str], cli: Cli
) -> None:
    host = Node("spark-2")
    code, out, _ = cli("model", "ls", *words, "--hosts", "spark-2", hosts=[host])
    assert code == 0
    assert caches_read(host) == caches
    assert f"is in {' or '.join(caches)}" in out
    assert host.execs == 1


def test_ls_says_where_a_model_lies(cli: Cli) -> None:
    own = listing(name=QWEN, cache=OWN_CACHE)
    hosts = [Node("spark-1"), Node("spark-2", own), Node("spark-3", listing() + own)]
    _, out, _ = cli("model", "ls", hosts=hosts)
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert f"{QWEN} spark-2 {OWN_CACHE} 111111111111 1.95 KiB complete" in rows
    assert f"{MODEL} spark-3 {DEFAULT_CACHE} 111111111111 1.95 KiB complete" in rows
    found = json.loads(cli("model", "ls", "--json", hosts=hosts).out)
    assert found["caches"] == [DEFAULT_CACHE, OWN_CACHE]
    assert {row["cache"] for row in found["models"]} == {DEFAULT_CACHE, OWN_CACHE}


def test_a_model_in_two_folders_is_shown_twice_and_compared_within_each(cli: Cli) -> None:
    both = [listing(name=QWEN), listing(TWO, name=QWEN, cache=OWN_CACHE)]
    hosts = [
        Node("spark-2", "".join(both)),
        Node("spark-3", listing(name=QWEN) + listing(name=QWEN, cache=OWN_CACHE)),
    ]
    found = json.loads(cli("model", "ls", QWEN, "--hosts", "pair", "--json", hosts=hosts).out)
    assert len(found["models"]) == 4
    assert found["skew"] == {
        QWEN: f"in {OWN_CACHE}: main is 222222222222 on spark-2; 111111111111 on spark-3"
    }


def test_a_recipe_that_cannot_be_read_hides_no_model(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "broken.yaml", "extends: nothing\n")
    with_recipes(tmp_path, monkeypatch, broken="broken.yaml")
    code, out, _ = cli("model", "ls", "--hosts", "spark-2", hosts=[Node("spark-2", listing())])
    assert code == 0
    assert MODEL in out


def with_recipes(folder: Path, monkeypatch: pytest.MonkeyPatch, **recipes: str) -> None:
    """The shipped inventory with recipes of its own."""
    named = "".join(f"  {name}: {path}\n" for name, path in recipes.items())
    text = Path(INVENTORY).read_text() + f"recipes:\n{named}"
    monkeypatch.setenv("SPARK_CLUSTER_INVENTORY", str(write(folder / "sparks.yaml", text)))


# The folder of a model that the hub's name means


@pytest.mark.parametrize(
    ("words", "cache"),
    [
        ((QWEN,), OWN_CACHE),
        ((MODEL,), DEFAULT_CACHE),
        (("org/name",), DEFAULT_CACHE),
        ((QWEN, "--cache", "/srv/hf"), "/srv/hf"),
    ],
)
def test_a_pull_by_the_hubs_name_fills_the_folder_that_launch_reads(
    words: tuple[str, ...], cache: str, cli: Cli
) -> None:
    host = Node("spark-2")
    host.done = {"failed": "no such revision", "reason": "unknown"}
    _, out, _ = cli("model", "pull", *words, "--to", "spark-2", hosts=[host])
    assert [job["cache"] for job in host.told("pull pull")] == [cache]
    assert f"{words[0]} in {cache} to spark-2" in out


@pytest.mark.parametrize(
    "words",
    [("pull", "--to", "spark-2"), ("sync", "--to", "pair"), ("verify",), ("rm", "--yes")],
)
def test_recipes_that_keep_a_model_in_several_folders_leave_the_choice(
    words: tuple[str, ...], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "mine.yaml", f"extends: {QWEN_RECIPE}\nname: mine\nmodel_cache: /srv/hf/\n")
    with_recipes(tmp_path, monkeypatch, mine="mine.yaml")
    said = cli("model", words[0], QWEN, *words[1:])
    where = f"{OWN_CACHE} ({QWEN_RECIPE}), /srv/hf (mine)"
    assert_told(said, f"recipes keep {QWEN} in several folders: {where}", "--cache")


@pytest.mark.parametrize("words", [("verify",), ("rm", "--yes"), ("sync",)])
def test_a_model_that_is_nowhere_says_where_it_was_looked_for(
    words: tuple[str, ...], cli: Cli
) -> None:
    hosts = [Node(f"spark-{number}") for number in (1, 2, 3)]
    said = cli("model", words[0], QWEN, *words[1:], hosts=hosts)
    assert f"in {OWN_CACHE}" in said.err + said.out.partition("\n")[2].partition("\n")[2]
