"""The memory sum. The seeds' measured figures are the cases; where one contradicts the arithmetic,
the comment says so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster import places
from spark_cluster.actions.fit import nominal
from spark_cluster.core.diagnosis import DIAGNOSES
from spark_cluster.core.units import GIB
from spark_cluster.facts.base import ProbeContext
from spark_cluster.facts.model_config import MODEL_CONFIG
from spark_cluster.recipes import loader, model_config
from spark_cluster.recipes.choose import choose
from spark_cluster.recipes.demand import BadArgument, Demand, of_arguments
from spark_cluster.recipes.fit import NOMINAL, Fit, Memory, fit
from spark_cluster.recipes.known_models import KNOWN_MODELS, numbers
from spark_cluster.recipes.model_config import ModelConfig
from spark_cluster.recipes.rank import Rank

from . import world

VL_235B = KNOWN_MODELS["QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ"]
DENSE_32B = KNOWN_MODELS["Qwen/Qwen3-32B-FP8"]
MOE_30B = KNOWN_MODELS["Qwen/Qwen3-30B-A3B-Instruct-2507-FP8"]

SHIPPED = sorted((places.shipped("playbooks") / "recipes").glob("*.yaml"))

AWQ = {
    "tensor-parallel-size": "2",
    "gpu-memory-utilization": "0.70",
    "kv-cache-dtype": "fp8",
    "max-num-batched-tokens": "2048",
}


def awq(**changes: str) -> Demand:
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return of_arguments("vllm-ray", AWQ | changed)


def summed(demand: Demand, hosts: list[Memory] | None = None) -> Fit:
    return fit(demand, VL_235B.config, VL_235B.weights, hosts or [NOMINAL])


def shipped(name: str, **choices: str) -> Fit:
    """A shipped recipe with the nominal numbers."""
    return nominal(choose(loader.load(name, {}), **choices))


# What was measured


def test_235b_at_070_leaves_2577_gib_per_node() -> None:
    """Seed: "KV Cache: 25.77 GiB per node, 256K max context, ~51GB total across TP=2".

    The reserve was derived from this very figure and from the next, so KV bytes agree by
    construction; 117 GB are decimal (as GiB the sum would have no room for 25.77 at all).
    """
    found = shipped("qwen3-vl-235b")
    assert found.kv_bytes == pytest.approx(25.77 * GIB, rel=0.001)
    assert found.verdict == "fits"
    assert found.sequences is not None
    assert int(found.sequences) == 2  # seed: "enough for ~2 concurrent 256K requests"


def test_235b_about_547_thousand_tokens() -> None:
    """Seed: "~547K token KV cache (34K blocks x 16)".

    25.77 GiB hold 574,960 tokens of 2 x 94 x 2 x 128 bytes: 5 % more than that. 547K tokens are
    24.5 GiB, so the two figures of the seed are of different starts, or one of them is rounded.
    """
    found = shipped("qwen3-vl-235b")
    assert found.token_bytes == 2 * 94 * 2 * 128
    assert found.tokens == pytest.approx(547_000, rel=0.06)
    assert 34_000 * 16 * found.token_bytes == pytest.approx(24.5 * GIB, rel=0.01)


def test_32b_has_271360_tokens_in_66_gb() -> None:
    """Seed: "KV Cache: 66 GB, 271,360 tokens capacity" at 0.90.

    256 KiB a token make exactly 66.25 GiB of 271,360 tokens, so its GB are GiB. One block of 16
    tokens is what rounding the two constants of the reserve costs.
    """
    found = shipped("qwen3-32b-fp8")
    assert found.token_bytes == 256 * 1024
    assert 271_360 * found.token_bytes == 66.25 * GIB
    assert found.tokens == pytest.approx(271_360, abs=16)


def test_30b_a3b_has_room_for_more_than_the_estimate() -> None:
    """Seed: "~55 GB KV cache" at 0.85 and "~66 GB" at 0.90, both marked as estimates.

    They contradict each other: 0.05 of the memory are 6 GiB, not 11. The sum gives 62.3 and 68.3.
    """
    found = shipped("qwen3-30b-a3b-fp8")
    assert found.token_bytes == 96 * 1024
    assert found.kv_bytes is not None
    assert 55 * GIB < found.kv_bytes < 70 * GIB  # seed: "KV Cache: ~55-70 GB"
    more = shipped("qwen3-30b-a3b-fp8", profile="throughput")
    assert more.kv_bytes is not None
    assert more.kv_bytes < found.kv_bytes + 0.05 * 119.6 * GIB + 1


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_recipe_does_not_contradict_its_numbers(path: object) -> None:
    recipe = loader.load(str(path), {})
    there = numbers(recipe.model)
    result = nominal(recipe)
    assert result.verdict != "no"
    if there.config is not None and recipe.shape is not None:
        assert recipe.shape.layers == there.config.layers


# The arithmetic


def rank(demand: Demand, config: ModelConfig | None = VL_235B.config) -> Rank:
    return Rank(demand, config, NOMINAL.total, VL_235B.weights)


@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        ({"tensor-parallel-size": "1"}, 2 * 94 * 4 * 128 * 2),
        ({"tensor-parallel-size": "2"}, 2 * 94 * 2 * 128 * 2),
        ({"tensor-parallel-size": "4"}, 2 * 94 * 1 * 128 * 2),
        ({"tensor-parallel-size": "8"}, 2 * 94 * 1 * 128 * 2),  # a copy of one of 4 KV heads
        ({"pipeline-parallel-size": "2"}, 2 * 47 * 4 * 128 * 2),
        ({"pipeline-parallel-size": "3"}, 2 * 32 * 4 * 128 * 2),  # the fullest stage
        ({"kv-cache-dtype": "fp8_e4m3"}, 2 * 94 * 4 * 128),
        ({"kv-cache-dtype": "fp8_ds_mla"}, None),
    ],
)
def test_bytes_of_a_token(arguments: dict[str, str], token: int | None) -> None:
    assert rank(of_arguments("vllm", arguments)).token == token


def test_a_fixed_kv_cache_goes_over_the_share() -> None:
    found = summed(awq(kv_cache_memory_bytes="20G"))
    assert found.kv_bytes == 20 * GIB
    too_much = summed(awq(kv_cache_memory_bytes="80G"))
    assert too_much.verdict == "no"
    assert "137.95 GiB of a host, it has 119.60 GiB" in too_much.problems[0].what


def test_the_sglang_share_holds_weights_and_kv_cache_only() -> None:
    arguments = {"tp": "2", "mem-fraction-static": "0.75", "kv-cache-dtype": "fp8_e5m2"}
    found = summed(of_arguments("sglang", arguments))
    assert found.kv_bytes == pytest.approx(0.75 * 119.6 * GIB - 117e9 / 2, rel=1e-6)
    unset = summed(of_arguments("sglang", {"tp": "2"}))
    assert (unset.verdict, unset.tokens) == ("unknown", None)
    assert any("SGLang chooses" in note for note in unset.notes)


# Verdicts


def only(found: Fit) -> tuple[str, str]:
    (problem,) = (*found.problems, *found.warnings)
    assert problem.code in DIAGNOSES
    return problem.what, problem.remedy


def test_weights_that_are_too_large() -> None:
    found = summed(awq(gpu_memory_utilization="0.45"))
    assert (found.verdict, found.tokens, found.sequences) == ("no", 0, 0.0)
    what, remedy = only(found)
    assert what == "weights and activations need 57.95 GiB of a host, the engine may use 53.82 GiB"
    assert remedy == "Raise gpu-memory-utilization to 0.59; or use 4 hosts (tensor parallel 4)."
    assert summed(awq(gpu_memory_utilization="0.59")).verdict != "no"
    four = awq(gpu_memory_utilization="0.45", tensor_parallel_size="4")
    assert summed(four).verdict == "fits"


def test_a_context_that_is_too_long() -> None:
    found = summed(awq(max_model_len="600K", kv_cache_dtype="auto"))
    assert found.verdict == "no"
    what, remedy = only(found)
    assert "one sequence of 614,400 tokens needs 55.08 GiB" in what
    assert "vLLM refuses to start" in what
    assert "Set max-model-len to 286720 or less" in remedy
    assert summed(awq(max_model_len="286720", kv_cache_dtype="auto")).verdict == "tight"


def test_little_room_is_a_warning_whose_remedies_help() -> None:
    found = summed(awq(kv_cache_dtype="auto"))
    assert found.verdict == "tight"
    what, remedy = only(found)
    assert "2.27 GiB of KV cache are left" in what
    assert remedy == (
        "Raise gpu-memory-utilization to 0.72; or set max-model-len to 237568 or less; or set "
        "kv-cache-dtype to fp8; or use 4 hosts (tensor parallel 4)."
    )
    for changes in (
        {"gpu_memory_utilization": "0.72"},
        {"max_model_len": "237568"},
        {"kv_cache_dtype": "fp8"},
        {"tensor_parallel_size": "4"},
    ):
        assert summed(awq(**{"kv_cache_dtype": "auto", **changes})).verdict == "fits"


def test_a_share_that_was_never_seen_working() -> None:
    found = summed(awq(gpu_memory_utilization="0.95"))
    assert found.verdict == "tight"
    assert "5.98 GiB are left for the system" in only(found)[0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"tensor_parallel_size": "3"},
            "64 attention heads cannot be divided by tensor parallel 3",
        ),
        (
            {"tensor_parallel_size": "1", "pipeline_parallel_size": "95"},
            "94 layers are too few for pipeline parallel 95",
        ),
    ],
)
def test_what_cannot_be_divided(changes: dict[str, str], says: str) -> None:
    found = summed(awq(**changes))
    assert found.verdict == "no"
    assert says in only(found)[0]


def test_the_smallest_host_decides_and_memory_must_be_free() -> None:
    hosts = [Memory("a", 120 * GIB, 110 * GIB), Memory("b", 100 * GIB, 60 * GIB)]
    found = summed(awq(), hosts)
    assert found.verdict == "no"
    what, remedy = only(found)
    assert what == "b: 60.00 GiB are free, the engine wants 70.00 GiB"
    assert "lower it to 0.6" in remedy
    assert found.lines[0].value == "100.00 GiB"
    assert "a 120.00 GiB, b 100.00 GiB" in found.notes[0]


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (fit(awq(), VL_235B.config, None, [NOMINAL]), "size of the weights is not known"),
        (fit(awq(), None, VL_235B.weights, [NOMINAL]), "config.json is not in the cache"),
        (fit(of_arguments("trtllm", {}), None, 1, [NOMINAL]), "Not in the sum: activations"),
        (summed(awq(), [Memory("vm", 2 * GIB)]), "no Spark"),
        (summed(awq(kv_cache_dtype="nvfp4")), "How much nvfp4 takes"),
    ],
)
def test_what_is_not_known_is_said(found: Fit, says: str) -> None:
    assert (found.verdict, found.tokens) == ("unknown", None)
    assert any(says in note for note in found.notes)


def test_too_large_weights_are_too_large_without_config() -> None:
    found = fit(awq(gpu_memory_utilization="0.45"), None, VL_235B.weights, [NOMINAL])
    assert found.verdict == "no"


@given(
    st.integers(1, 8), st.integers(1, 8), st.floats(0.01, 1.0), st.integers(1, 2_000_000),
    st.integers(1, 10**12), st.integers(1, 256 * GIB), st.sampled_from(["auto", "fp8"]),
)  # fmt: skip
def test_a_verdict_is_what_its_theresay(
    tensor: int, pipeline: int, fraction: float, context: int, weights: int, total: int, dtype: str
) -> None:
    demand = Demand("vllm-ray", tensor, pipeline, fraction, dtype, context=context)
    found = fit(demand, VL_235B.config, weights, [Memory("h", total)])
    if found.verdict in ("fits", "tight"):
        assert found.sequences is not None
        assert found.sequences > 1 - 16 / context
    for problem in (*found.problems, *found.warnings):
        assert problem.remedy.endswith((".", "GiB"))


# Arguments


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("4096", 4096), ("32k", 32000), ("32K", 32768), ("25.6k", 25600), ("1M", 1024**2)],
)
def test_lengths_as_vllm_reads_them(text: str, tokens: int) -> None:
    assert of_arguments("vllm", {"max-model-len": text}).context == tokens


@pytest.mark.parametrize("text", ["auto", "-1"])
def test_the_longest_that_fits(text: str) -> None:
    assert of_arguments("vllm", {"max-model-len": text}).context is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tensor-parallel-size", "two"), ("tensor-parallel-size", "0"), ("max-num-seqs", True),
        ("gpu-memory-utilization", "0"), ("gpu-memory-utilization", "70"),
        ("gpu-memory-utilization", True), ("max-model-len", "long"), ("max-model-len", ""),
    ],
)  # fmt: skip
def test_values_that_no_engine_takes(name: str, value: str | bool) -> None:
    with pytest.raises(BadArgument) as caught:
        of_arguments("vllm", {name: value})
    assert caught.value.name == name


# config.json


def config(**fields: object) -> ModelConfig | None:
    base = {"num_hidden_layers": 2, "num_attention_heads": 8, "hidden_size": 64}
    return model_config.parse(json.dumps(base | fields))


def test_config_of_a_model_that_sees() -> None:
    text = world.healthy("model-config", "spark-2")
    assert MODEL_CONFIG.parse(text).config == VL_235B.config


def test_config_with_what_may_be_absent() -> None:
    assert config() == ModelConfig(2, 8, 8, 8, "bfloat16", None)
    assert config(num_key_value_heads=2, torch_dtype="float16", head_dim=128) == ModelConfig(
        2, 8, 2, 128, "float16", None
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kv_lora_rank": 512}, ""),
        ({"hybrid_override_pattern": "M*M"}, ""),
        ({"layer_types": ["full_attention", "sliding_attention"]}, ""),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "(chunked_attention)"),
        ({"linear_num_key_heads": 16}, "linear attention"),
        ({"sliding_window": 4096}, "sliding windows"),
        ({"sliding_window": 4096, "use_sliding_window": False}, ""),
        ({"layer_types": ["full_attention"] * 2, "sliding_window": 128}, ""),
    ],
)
def test_other_attention_is_not_computed(fields: dict[str, object], why: str) -> None:
    found = config(**fields)
    assert found is not None
    assert why in found.other
    assert bool(found.other) == bool(why)


#: The published figures of autumn 2026, and what the sum makes of the same configuration.
FIGURES = (
    # Qwen3.8-27B: 32 KiB a token, 16 of 64 layers with 4 KV heads of 256, fp8.
    ({"num_hidden_layers": 64, "num_attention_heads": 24, "num_key_value_heads": 4,
      "head_dim": 256, "linear_num_key_heads": 16, "full_attention_interval": 4},
     "fp8", 32 * 1024, 0.0),
    # Flash-Next: 12 of 48 layers with 2 KV heads of 256.
    ({"num_hidden_layers": 48, "num_attention_heads": 24, "num_key_value_heads": 2,
      "head_dim": 256, "layer_types": ["linear_attention"] * 36 + ["full_attention"] * 12},
     "fp8", 12 * 1024, 0.0),
    # GLM-5.3-Flash: 656 B a token and layer, 11 of 45 layers.
    ({"num_hidden_layers": 45, "num_attention_heads": 64, "hidden_size": 4096,
      "kv_lora_rank": 512, "qk_rope_head_dim": 64,
      "layer_types": ["full_attention"] * 11 + ["linear_attention"] * 34},
     "fp8_ds_mla", 11 * 656, 0.0),
    # The same in vLLM's plain layout: a byte an element, without scales.
    ({"num_hidden_layers": 45, "num_attention_heads": 64, "hidden_size": 4096,
      "kv_lora_rank": 512, "qk_rope_head_dim": 64,
      "layer_types": ["full_attention"] * 11 + ["linear_attention"] * 34},
     "fp8", 11 * 656, 0.13),
)  # fmt: skip


@pytest.mark.parametrize(("fields", "dtype", "token", "off"), FIGURES)
def test_a_token_takes_what_was_published(
    fields: dict[str, object], dtype: str, token: int, off: float
) -> None:
    rank = Rank(of_arguments("vllm", {"kv-cache-dtype": dtype}), config(**fields), GIB, 1)
    assert rank.token is not None
    assert abs(rank.token / token - 1) <= off


def test_a_pool_of_1973758_tokens_is_60_gib() -> None:
    """Logged by vLLM for Qwen3.8-27B: tokens times 32 KiB, within a block of 16."""
    fields = FIGURES[0][0]
    pool = {"kv-cache-dtype": "fp8", "kv-cache-memory-bytes": str(1_973_758 * 32 * 1024)}
    rank = Rank(of_arguments("vllm", pool), config(**fields), NOMINAL.total, 24_500_000_000)
    assert rank.tokens is not None
    assert 0 <= 1_973_758 - rank.tokens < 16
    assert rank.kv / GIB == pytest.approx(60.2, abs=0.05)


def test_layers_that_do_not_grow_are_told() -> None:
    found = fit(
        of_arguments("vllm", {"kv-cache-dtype": "fp8"}), config(**FIGURES[0][0]),
        21_900_000_000, [NOMINAL], 0,
    )  # fmt: skip
    assert any("48 of 64 layers keep states" in note for note in found.notes)
    assert found.verdict == "fits"


def test_every_rank_holds_the_draft_whole() -> None:
    two = of_arguments("vllm-mp", {"tensor-parallel-size": "2"})
    rank = Rank(two, None, GIB, 24_500_000_000, draft=2_600_000_000)
    assert rank.share == (24_500_000_000 - 2_600_000_000) / 2 + 2_600_000_000


@pytest.mark.parametrize("kind", ["M-M*-", "MEM*EME*"])
def test_the_pattern_of_the_nemotrons(kind: str) -> None:
    found = config(num_hidden_layers=len(kind), hybrid_override_pattern=kind)
    assert found is not None
    assert found.growing == kind.count("*")


@given(st.text() | st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(["text_config", "num_hidden_layers", "num_attention_heads", "head_dim",
                         "hidden_size", "layer_types", "dtype"]), inner) | st.lists(inner),
).map(json.dumps))  # fmt: skip
def test_any_config_is_read_or_left(text: str) -> None:
    found = model_config.parse(text)
    assert found is None or min(found.layers, found.heads, found.kv_heads, found.head_dim) > 0


def test_the_fact_looks_where_the_model_is() -> None:
    host = world.inventory().hosts["spark-2"]
    assert MODEL_CONFIG.script(ProbeContext(host, world.inventory())) == "true"
    script = MODEL_CONFIG.script(ProbeContext(host, world.inventory(), world.deployment()))
    assert "models--QuantTrio--Qwen3-VL-235B-A22B-Instruct-AWQ" in script
