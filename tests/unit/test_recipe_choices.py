"""Profiles and options of a recipe, and the command line that chooses them."""

from __future__ import annotations

import pytest

from spark_cluster import places
from spark_cluster.actions.deploying import Choices, chosen_options, deploy, load_recipe
from spark_cluster.recipes.choose import choose
from spark_cluster.recipes.loader import load
from spark_cluster.recipes.models import Recipe
from tests.command_line import Cli

from . import world
from .cases import refused
from .world import INVENTORY


def args(recipe: Recipe) -> dict[str, str]:
    return {k: choice.text for k, choice in recipe.args.items() if choice.value is not None}


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("throughput", ("32000", "0.90", "20480", "64")),
        ("latency", ("16384", "0.85", "8192", "16")),
        ("context", ("32000", "0.85", "16384", "32")),
        (None, ("32000", "0.90", "16384", "64")),
    ],
)
def test_the_three_profiles(profile: str | None, expected: tuple[str, ...]) -> None:
    found = args(choose(load("qwen3-32b-fp8", {}), profile))
    names = ("max-model-len", "gpu-memory-utilization", "max-num-batched-tokens", "max-num-seqs")
    assert tuple(found[name] for name in names) == expected
    assert found["enable-prefix-caching"] == "1"


def test_a_pipeline_instead_of_tensor_parallel() -> None:
    found = args(choose(load("qwen3-vl-235b", {}), None, ("pp",)))
    assert (found["tensor-parallel-size"], found["pipeline-parallel-size"]) == ("1", "2")
    assert "mm-encoder-tp-mode" not in found


def test_options_go_over_each_other_in_order_and_over_the_rails() -> None:
    recipe = load("qwen3-vl-235b", {})
    found = choose(recipe, None, ("dual-rail", "debug", "dual-rail"))
    assert found.rails == "dual"
    assert found.env["NCCL_DEBUG_SUBSYS"].text.startswith("INIT,BOOTSTRAP")
    assert recipe.rails == "single"
    assert found.chain == recipe.chain


@pytest.mark.parametrize(
    ("recipe", "profile", "options", "says", "remedy"),
    [
        ("qwen3-32b-fp8", "latncy", (), "no profile 'latncy'", "`latency`"),
        ("qwen3-vl-235b", "latency", (), "no profile 'latency'", "add `profiles:`"),
        ("qwen3-32b-fp8", None, ("pp",), "no option 'pp'", "Known options: debug"),
    ],
)
def test_what_a_recipe_does_not_have(
    recipe: str, profile: str | None, options: tuple[str, ...], says: str, remedy: str
) -> None:
    error = refused(lambda: choose(load(recipe, {}), profile, options))
    assert says in error.message
    assert remedy in error.remedy
    assert error.place is not None


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (places.shipped("playbooks") / "recipes").glob("*.yaml"))
)
def test_no_option_makes_nccl_speak_of_every_message(name: str) -> None:
    """TUNING and COLL print a line per collective, and the lines that name the network drown."""
    recipe = load(name, {})
    for found in (recipe, *(choose(recipe, None, (option,)) for option in recipe.options)):
        setting = found.env.get("NCCL_DEBUG_SUBSYS")
        said = set(setting.text.split(",")) if setting is not None else set()
        assert not said & {"TUNING", "COLL", "ALL"}


def test_flags_are_names_of_options() -> None:
    assert chosen_options(["a,b", "c"], pp=True, debug=True, dual_rail=False) == (
        "a", "b", "c", "pp", "debug",
    )  # fmt: skip
    assert chosen_options(None, pp=False, debug=False, dual_rail=True) == ("dual-rail",)


@pytest.mark.parametrize(
    ("group", "host"), [(None, "spark-2"), ("pair", "spark-2"), ("spark-1", "spark-1")]
)
def test_a_recipe_for_one_host_goes_to_the_head_or_to_the_host_named(
    group: str | None, host: str
) -> None:
    choices = Choices(group=group)
    recipe = load_recipe(world.inventory(), "qwen3-32b-fp8", choices)
    made, members = deploy(world.inventory(), recipe, choices, world.RUN)
    assert (made.head, made.hosts, members) == (host, (host,), (host,))


def test_a_recipe_for_two_hosts_does_not_go_to_one() -> None:
    choices = Choices(group="spark-1")
    recipe = load_recipe(world.inventory(), "qwen3-vl-235b", choices)
    error = refused(lambda: deploy(world.inventory(), recipe, choices, world.RUN))
    assert "no group 'spark-1'" in error.message


def test_a_recipe_known_not_to_work_needs_a_word(cli: Cli) -> None:
    said = cli("launch", "qwen3-vl-235b-sglang", "-i", INVENTORY)
    assert said.code == 2
    assert "is known not to work: SGLang" in said.err
    assert "--anyway" in said.err
    hosts = world.sparks("spark-2", "spark-3")
    with_it = cli(
        "launch", "qwen3-vl-235b-sglang", "--anyway", "--dry-run", "-i", INVENTORY, hosts=hosts
    )
    assert with_it.code == 0
    assert "container sglang-head: absent -> running" in with_it.out
    assert "hangs after NCCL's start" in " ".join(with_it.out.split())


def test_the_plan_names_what_was_chosen(cli: Cli) -> None:
    hosts = world.sparks("spark-2", "spark-3")
    said = cli(
        "plan", "launch", "qwen3-vl-235b", "--pp", "--commands", "-i", INVENTORY, hosts=hosts
    )
    assert said.code == 0
    assert "pp: pipeline parallel" in " ".join(said.out.split())
    assert "--pipeline-parallel-size 2" in said.out
