"""`spark-cluster recipes`: list, show, fit and lint, from the command line to the exit code."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from spark_cluster.core.error import Unreachable
from tests.command_line import Cli, Said

from . import world
from .cases import write
from .world import INVENTORY

FOREIGN = world.DATA / "foreign"

WHOLE = "weight 4999999000\nweight 4999999000"

Recipes = Callable[..., Said]


@pytest.fixture
def recipes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Recipes:
    """Run `spark-cluster recipes …`; `hosts` answer."""
    monkeypatch.setenv("SPARK_CLUSTER_INVENTORY", INVENTORY)
    return functools.partial(cli, "recipes")


def whole_model(name: str, **texts: str) -> world.Spark:
    """A host whose cache has all 117 GB of the model."""
    model = world.healthy("model", name).replace(WHOLE, "weight 117000000000")
    return world.Spark(name, {"model": model} | texts)


def test_the_list_says_whether_each_fits(recipes: Recipes) -> None:
    said = recipes()
    assert said.code == 0
    line = next(line for line in said.out.splitlines() if line.startswith("qwen3-vl-235b "))
    assert "  2 hosts  vllm-ray  fits  " in line
    rows = {row["name"]: row for row in recipes("--json").lines[0]["recipes"]}
    assert rows["qwen3-vl-235b"]["fits"] == "fits"
    assert rows["qwen3-vl-235b-sglang"]["known_broken"] is True


def test_the_list_names_the_file_of_what_is_the_users_own_alone(recipes: Recipes) -> None:
    assert ".yaml" not in recipes().out
    write(Path("playbooks/recipes/mine.yaml"), "name: mine\nextends: qwen3-vl-235b\n")
    said = recipes()
    (line,) = [line for line in said.out.splitlines() if ".yaml" in line]
    assert line.split() == ["playbooks/recipes/mine.yaml", "extends", "qwen3-vl-235b"]


def test_a_recipe_of_another_tool_is_shown(recipes: Recipes) -> None:
    said = recipes("show", str(FOREIGN / "sparkrun-two-nodes.yaml"))
    assert said.code == 0
    assert "note     Read from a recipe of sparkrun." in said.out
    assert "served as large-dense" in said.out
    assert "secrets  HF_TOKEN" in said.out
    assert "--speculative-config" in said.out


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "qwen3-vl-235b",
            [
                "  option   pp: pipeline parallel;",
                "    --pipeline-parallel-size 2",
                "    --mm-encoder-tp-mode left out",
                "  option   dual-rail: both halves",
                "    rails dual",
                "    NCCL_IB_MERGE_NICS 1",
            ],
        ),
        (
            "qwen3-32b-fp8",
            [
                "  secrets  HF_TOKEN (from your environment, or ~/.config/spark-cluster/env on the "
                "host)",
                "  profile  latency: the shortest time",
                "    --max-model-len 16384",
            ],
        ),
        ("qwen3-vl-235b-sglang", ["  broken   known not to work: SGLang of nvcr.io"]),
    ],
)
def test_a_recipe_shows_what_can_be_chosen_what_it_needs_and_what_is_broken(
    recipes: Recipes, name: str, lines: list[str]
) -> None:
    shown = recipes("show", name).out.splitlines()
    at = [next(i for i, one in enumerate(shown) if one.startswith(line)) for line in lines]
    assert at == sorted(at)


def test_a_recipe_that_cannot_be_honoured_is_told_with_line_and_remedy(recipes: Recipes) -> None:
    path = FOREIGN / "refused" / "eugr-two-values.yaml"
    said = recipes("show", str(path))
    assert said.code == 2
    assert f"error: {path}:7: command: max-model-len has more than one value" in said.err
    assert "next: Leave one of them" in said.err


# fit


def test_the_sum_from_nominal_numbers(recipes: Recipes) -> None:
    said = recipes("fit", "qwen3-vl-235b")
    assert said.code == 0
    assert said.out.startswith("qwen3-vl-235b: fits on 2 hosts\n")
    assert "  = KV cache of a host    25.77 GiB\n" in said.out
    assert "assumed: a 128 GB Spark" in said.out
    assert "--hosts GROUP reads memory, weights and config.json" in said.out


def test_an_option_of_the_recipe_is_summed(recipes: Recipes) -> None:
    said = recipes("fit", "qwen3-vl-235b", "--pp")
    assert said.code == 0
    assert "TP 1 x PP 2" in said.out
    assert "2 x 47 layers x 4 KV heads" in said.out


def test_the_sum_from_the_hosts_costs_one_exec_each(recipes: Recipes) -> None:
    hosts = [whole_model(name) for name in world.PAIR]
    said = recipes("fit", "qwen3-vl-235b", "--hosts", "pair", hosts=hosts)
    assert said.code == 0
    assert "MemTotal of spark-2" in said.out
    assert "576,512  in blocks of 16\n" in said.out
    assert "note" not in said.out
    assert [(host.connections, host.execs) for host in hosts] == [(1, 1)] * 2
    assert [host.changes for host in hosts] == [[], []]


def test_hosts_without_the_model(recipes: Recipes) -> None:
    hosts = [world.Spark(name, {"model": "", "model-config": ""}) for name in world.PAIR]
    said = recipes("fit", "qwen3-vl-235b", "--hosts", "spark-2,spark-3", hosts=hosts)
    assert said.code == 0
    assert "note: config.json as published at huggingface.co." in said.out
    assert "note: The size of the weights is from the notes" in said.out


def test_what_does_not_fit_ends_with_4_and_the_number_to_change(recipes: Recipes) -> None:
    small = world.healthy("memory", "spark-3").replace("125513676", " 64000000")
    hosts = [whole_model("spark-2"), whole_model("spark-3", memory=small)]
    said = recipes("fit", "qwen3-vl-235b", "--hosts", "pair", hosts=hosts)
    assert said.code == 4
    assert said.out.startswith("qwen3-vl-235b: does not fit on 2 hosts\n")
    assert "MemTotal of spark-3" in said.out
    assert "error: weights and activations need 57.95 GiB of a host" in said.out
    assert "next: Use 4 hosts (tensor parallel 4)." in said.out
    assert "more: spark-cluster explain RECIPE001" in said.out


def test_memory_that_something_holds(recipes: Recipes) -> None:
    taken = world.healthy("memory", "spark-3").replace("121563244", " 21563244")
    hosts = [whole_model("spark-2"), whole_model("spark-3", memory=taken)]
    arguments = ("fit", "qwen3-vl-235b", "--hosts", "pair", "--json")
    data = json.loads(recipes(*arguments, hosts=hosts).out)
    assert (data["verdict"], data["exit_code"]) == ("no", 4)
    (problem,) = data["problems"]
    assert problem["code"] == "SERVE001"
    assert problem["what"] == "spark-3: 20.56 GiB are free, the engine wants 83.79 GiB"


def test_a_recipe_that_runs_holds_its_own_memory(recipes: Recipes) -> None:
    taken = world.healthy("memory", "spark-3").replace("121563244", " 21563244")
    hosts = [whole_model(name, memory=taken, containers=world.running(name)) for name in world.PAIR]
    said = recipes("fit", "qwen3-vl-235b", "--hosts", "pair", hosts=hosts)
    assert said.code == 0
    assert "note: It runs on spark-2, spark-3 now" in said.out


def test_a_host_that_is_away(recipes: Recipes) -> None:
    away = whole_model("spark-3")
    away.down = Unreachable("spark-3: no route to host", host="spark-3", remedy="Is it on?")
    said = recipes("fit", "qwen3-vl-235b", "--hosts", "pair", hosts=[whole_model("spark-2"), away])
    assert said.code == 3
    assert "no route to host" in said.err


def test_what_is_not_known_ends_with_3(recipes: Recipes) -> None:
    said = recipes("fit", str(FOREIGN / "eugr-two-nodes-awq.yaml"))
    assert said.code == 3
    assert "not known on 2 hosts" in said.out
    assert "The size of the weights is not known" in said.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fit", "qwen3-vl-235"), "Did you mean `qwen3-vl-235b`?"),
        (("fit", "qwen3-vl-235b", "--hosts", "pear"), "there is no host or group 'pear'"),
        (("fit", "qwen3-vl-235b", "--hosts", "spark-2"), "needs 2 hosts"),
        (("fit", "qwen3-vl-235b", "--with", "nothing"), "has no option 'nothing'"),
        (("lint", "no-such"), "there is no recipe 'no-such'"),
    ],
)
def test_what_the_user_got_wrong(recipes: Recipes, arguments: tuple[str, ...], says: str) -> None:
    said = recipes(*arguments)
    assert said.code == 2
    assert says in said.err + said.out


def test_an_argument_that_is_no_number_has_its_line(recipes: Recipes) -> None:
    path = write(
        Path("mine.yaml"),
        "name: mine\nextends: qwen3-vl-235b\nargs:\n  gpu-memory-utilization: 70\n",
    )
    said = recipes("fit", str(path))
    assert said.code == 2
    assert f"{path.absolute()}:4" in said.err
    assert "'70' is no share of the memory" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("compose", "mine.yaml"),
        ("recipes", "fit", "mine.yaml"),
        ("recipes", "fit", "mine.yaml", "--hosts", "spark-2"),
        ("launch", "mine.yaml", "--anyway"),
    ],
)
def test_ranks_that_are_no_number_have_their_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    path = write(
        Path("mine.yaml"),
        "name: mine\nextends: qwen3-32b-fp8\nargs:\n  tensor_parallel_size: two\n",
    )
    said = cli(*arguments, "-i", INVENTORY)
    assert said.code == 2
    assert f"{path.absolute()}:4" in said.err
    assert "tensor-parallel-size: 'two' is no count" in said.err
    assert "next: Correct the value." in said.err


def test_weights_of_trtllm_and_ollama_are_compared_with_the_memory(recipes: Recipes) -> None:
    known = recipes("fit", "ollama-qwen3-32b")
    assert known.code == 0
    assert "8 x 32,768 tokens (q8_0)" in known.out
    assert "34.00 GiB" in known.out
    assert "Not in the sum: Ollama's buffers" in known.out
    text = "name: big\nextends: {}\nmodel: {}\nrequires: {{memory_gib: 10, download_gib: 400}}\n"
    for parent, model, share in (
        ("ollama-qwen3-32b", "big:400b", "400.00 GiB"),
        ("qwen3-235b-trtllm", "org/big", "200.00 GiB"),
    ):
        write(Path("big.yaml"), text.format(parent, model))
        said = recipes("fit", "big.yaml")
        assert said.code == 4, said
        assert f"weights need {share} of a host, it has 119.60 GiB" in said.out
        assert "The size of the weights is download_gib." in said.out
        assert "Not in the sum: " in said.out


# lint


def test_lint_of_all(recipes: Recipes) -> None:
    said = recipes("lint")
    assert said.code == 0
    assert said.out.splitlines()[-1].startswith("lint: ")
    assert ", 0 errors, " in said.out


def test_lint_names_file_line_and_replacement(recipes: Recipes) -> None:
    write(
        Path("mine.yaml"),
        "name: mine\nextends: qwen3-vl-235b\nimage: example.org/vllm:0.30.0\n"
        "engine_version: 0.30.0\nenv:\n  VLLM_SLEEP_WHEN_IDLE: null\n"
        "  VLLM_ATTENTION_BACKEND: TRITON_ATTN\n",
    )
    said = recipes("lint", "mine.yaml")
    assert said.code == 2
    assert said.out.startswith("error    RECIPE003  mine.yaml:7  env.VLLM_ATTENTION_BACKEND\n")
    assert "the variable is ignored without a word" in said.out
    assert "next: Use the argument `attention-backend`" in said.out
    assert said.out.endswith("lint: 1 recipe, 1 error, 0 warnings\n")
    data = json.loads(recipes("lint", "mine.yaml", "--json").out)
    assert data["errors"] == 1
    assert data["findings"][0]["place"].endswith("mine.yaml:7")


def test_lint_finds_the_line_of_a_name_with_underscores(recipes: Recipes) -> None:
    write(
        Path("mine.yaml"),
        "name: mine\nextends: qwen3-vl-235b\nengine_version: 0.26.0\n"
        "image: example.org/vllm:0.26.0\nargs:\n  disable_log_requests: true\n",
    )
    said = recipes("lint", "mine.yaml")
    assert said.code == 2
    assert "RECIPE003  mine.yaml:6  args.disable-log-requests" in said.out


def test_a_recipe_that_cannot_be_read_does_not_stop_the_others(recipes: Recipes) -> None:
    write(Path("broken.yaml"), "name: broken\nextends: qwen3-vl-235b\nprot: 1\n")
    said = recipes("lint", "broken.yaml", "qwen3-vl-235b")
    assert said.code == 2
    assert "RECIPE005  broken.yaml:3\n" in said.out
    assert "prot: there is no such field" in said.out
    assert "lint: 2 recipes, 1 error, 0 warnings" in said.out


# From the command line


def test_recipes_are_listed_and_shown(cli: Cli) -> None:
    said = cli("recipes", "-i", INVENTORY)
    assert said.code == 0
    assert "\nqwen3-vl-235b " in said.out
    shown = cli("recipes", "show", "qwen3-vl-235b", "-i", INVENTORY)
    assert shown.code == 0
    assert "--gpu-memory-utilization 0.70" in shown.out
    assert "0.75 crashes while CUDA graphs are captured" in shown.out
    as_json = json.loads(cli("recipes", "show", "qwen3-vl-235b", "--json", "-i", INVENTORY).out)
    assert as_json["nodes"] == 2


def test_a_broken_recipe_is_told_with_its_place_after_the_list_of_the_rest(cli: Cli) -> None:
    path = write(Path("playbooks/recipes/mine.yaml"), "name: mine\n")
    said = cli("recipes", "-i", INVENTORY)
    assert said.code == 2
    assert "\nqwen3-vl-235b " in said.out
    assert said.out.splitlines()[-2].startswith(f"mine: cannot be read: {path}:1: title: ")
    assert said.out.splitlines()[-1] == "  next: Add `title:` there."
    as_json = cli("recipes", "--json", "-i", INVENTORY)
    assert as_json.code == 2
    (told,) = as_json.lines
    assert "qwen3-vl-235b" in [row["name"] for row in told["recipes"]]
    (last,) = told["broken"]
    assert (last["name"], last["path"]) == ("mine", str(path.absolute()))
    assert last["error"]["place"] == f"{path.absolute()}:1"


def test_commands_name_the_recipe_as_it_was_asked_for(recipes: Recipes) -> None:
    write(Path("mine.yaml"), "name: other\nextends: qwen3-vl-235b\nenv: {NCCL_IB_DISABLE: 1}\n")
    shown = recipes("show", "./mine.yaml").out
    assert "(spark-cluster recipes fit ./mine.yaml)" in shown


def test_fit_names_no_option_that_it_has_not(recipes: Recipes) -> None:
    said = recipes("fit", "qwen3-vl-235b", "--hosts", "spark-2")
    assert "needs 2 hosts and the group spark-2 has 1" in said.err
    assert "--group" not in said.err
