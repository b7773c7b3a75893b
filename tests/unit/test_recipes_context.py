"""A max-model-len above the model's own: vLLM ends at once, unless something stretches it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from spark_cluster.recipes.demand import of_arguments
from spark_cluster.recipes.fit import NOMINAL, Fit, fit
from spark_cluster.recipes.model_config import ModelConfig
from tests.command_line import Cli

from .cases import write
from .test_recipes_fit import AWQ, VL_235B, config, only
from .world import INVENTORY

ROPE = '{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":262144}'


def beyond(arguments: dict[str, str], env: dict[str, str], config: ModelConfig) -> Fit:
    """Of a sequence of 300K tokens, where the model's own end at 256K."""
    demand = of_arguments("vllm-ray", AWQ | {"max-model-len": "300K"} | arguments, env)
    return fit(demand, config, VL_235B.weights, [NOMINAL])


@pytest.mark.parametrize(
    ("arguments", "env", "scaled", "by"),
    [
        ({}, {}, False, None),
        ({}, {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "0"}, False, None),
        ({}, {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}, False, "VLLM_ALLOW_LONG_MAX_MODEL_LEN"),
        ({"hf-overrides": f'{{"rope_scaling":{ROPE}}}'}, {}, False, "hf-overrides"),
        ({"hf_overrides.rope_parameters.factor": "4.0"}, {}, False, "hf-overrides"),
        ({"rope-scaling": ROPE}, {}, False, "rope-scaling"),
        ({}, {}, True, "its config.json"),
    ],
)
def test_a_context_beyond_the_models_own(
    arguments: dict[str, str], env: dict[str, str], scaled: bool, by: str | None
) -> None:
    assert VL_235B.config is not None
    found = beyond(arguments, env, replace(VL_235B.config, scaled=scaled))
    what, remedy = only(found)
    assert what.startswith("max-model-len 307,200 is longer than the model's own 262,144")
    if by is None:
        assert found.verdict == "no"
        assert "vLLM ends at once" in what
        assert "Set max-model-len to 262144 or less" in remedy
    else:
        assert (found.verdict, found.problems) == ("fits", ())
        assert by in what


def test_a_remedy_stays_within_the_models_own_context() -> None:
    found = fit(
        of_arguments("vllm", AWQ | {"max-model-len": "2M"}, {}),
        VL_235B.config, VL_235B.weights, [NOMINAL],
    )  # fmt: skip
    assert [problem.code for problem in found.problems] == ["RECIPE008", "RECIPE001"]
    assert all("max-model-len to 262144 or less" in problem.remedy for problem in found.problems)


def test_other_engines_and_unknown_variables_get_a_note() -> None:
    context = {"context-length": "300K", "tp": "2", "mem-fraction-static": "0.75"}
    demands = (
        of_arguments("sglang", context, {}),
        of_arguments("vllm-ray", AWQ | {"max-model-len": "300K"}),
    )
    for demand in demands:
        found = fit(demand, VL_235B.config, VL_235B.weights, [NOMINAL])
        assert (found.problems, found.verdict) == ((), "fits")
        (note,) = found.notes
        assert "307,200 is longer than the model's own 262,144" in note


# config.json


@pytest.mark.parametrize(
    ("fields", "scaled"),
    [
        ({}, False),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, True),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, True),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, False),  # scaled already
        ({"rope_scaling": {"rope_type": "default", "mrope_section": [24, 20, 20]}}, False),
        ({"rope_scaling": None, "rope_parameters": {"rope_type": "default"}}, False),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 2.0}}}, True),
        ({"rope_scaling": "yarn"}, False),
    ],
)
def test_a_config_that_scales_its_positions(fields: dict[str, object], scaled: bool) -> None:
    found = config(**fields)
    assert found is not None
    assert found.scaled is scaled


def test_a_config_with_a_length_of_its_own() -> None:
    found = config(max_position_embeddings=8192, model_max_length=131072)
    assert found is not None
    assert found.context == 131072


# From the command line

LONG = "name: long\nextends: qwen3-32b-fp8\nargs: {max-model-len: 131072}\n"


def test_a_context_beyond_the_models_own_does_not_fit(cli: Cli) -> None:
    write(Path("long.yaml"), LONG)
    said = cli("recipes", "fit", "long.yaml", "-i", INVENTORY)
    assert said.code == 4
    error = "error: max-model-len 131,072 is longer than the model's own 40,960: vLLM ends at once"
    assert f"{error}\n  next: Set max-model-len to 40960 or less; or" in said.out
    assert "explain RECIPE008" in said.out
    data = json.loads(cli("recipes", "fit", "long.yaml", "--json", "-i", INVENTORY).out)
    assert (data["verdict"], data["exit_code"]) == ("no", 4)


def test_a_context_beyond_the_models_own_that_is_wanted(cli: Cli) -> None:
    write(Path("long.yaml"), LONG + 'env: {VLLM_ALLOW_LONG_MAX_MODEL_LEN: "1"}\n')
    said = cli("recipes", "fit", "long.yaml", "-i", INVENTORY)
    assert said.code == 0
    assert said.out.startswith("long: fits on 1 host\n")
    assert "warning: max-model-len 131,072 is longer than the model's own 40,960" in said.out
    assert "VLLM_ALLOW_LONG_MAX_MODEL_LEN" in said.out
