"""The numbers of models whose files are not on a host yet, so that `recipes fit` needs no host.

What the node's cache holds comes first; these are only its stand-in. Source of the shapes: each
model's config.json at huggingface.co. Source of the sizes: `source` of each.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.units import GIB
from spark_cluster.recipes.model_config import ModelConfig


@dataclass(frozen=True)
class KnownModel:
    """`weights` in bytes."""

    config: ModelConfig
    weights: int
    source: str


_GB = 10**9
_VL_235B = ModelConfig(94, 64, 4, 128, "bfloat16", 262144)
_NOTES = "the notes on two Sparks of January 2026"
_DOCS = "the guides to vLLM on one Spark of November 2025"

KNOWN_MODELS = {
    "QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ": KnownModel(_VL_235B, 117 * _GB, _NOTES),
    "QuantTrio/Qwen3-VL-235B-A22B-Thinking-AWQ": KnownModel(_VL_235B, 117 * _GB, _NOTES),
    "nvidia/Qwen3-VL-235B-A22B-Instruct-NVFP4": KnownModel(_VL_235B, 127 * _GB, _NOTES),
    "Qwen/Qwen3-32B-FP8": KnownModel(
        ModelConfig(64, 64, 8, 128, "bfloat16", 40960), 32 * GIB, _DOCS
    ),
    "Qwen/Qwen3-30B-A3B-Instruct-2507-FP8": KnownModel(
        ModelConfig(48, 32, 4, 128, "bfloat16", 262144), 30 * GIB, _DOCS
    ),
    "nvidia/Llama-3.3-70B-Instruct-FP8": KnownModel(
        ModelConfig(80, 64, 8, 128, "bfloat16", 131072),
        71 * _GB,
        "a calculation: one byte a parameter",
    ),
    "qwen3:32b-q8_0": KnownModel(
        ModelConfig(64, 64, 8, 128, "bfloat16", 40960),
        35 * _GB,
        "the notes on one Spark of November 2025",
    ),
}


#: Attention heads by a part of the model's name, whoever quantized it; from its config.json.
_HEADS = (("qwen3.8-flash-next", 24), ("glm-5.3-flash", 64), ("mimo-v2.6-flash", 64))


def heads_of(model: str) -> int | None:
    """The attention heads of a model that is known here, which tensor parallel has to divide."""
    known = KNOWN_MODELS.get(model)
    if known is not None:
        return known.config.heads
    return next((heads for part, heads in _HEADS if part in model.lower()), None)


@dataclass(frozen=True)
class Numbers:
    """What is known of a model, and in `notes` where it is not from a host's cache."""

    config: ModelConfig | None
    weights: int | None
    notes: tuple[str, ...] = ()


def numbers(
    model: str,
    config: ModelConfig | None = None,
    weights: int | None = None,
    download: float = 0.0,
) -> Numbers:
    """What a host's cache holds of the model, and for what it lacks the numbers known here; for
    weights not known at all `download`, in bytes, if it is not 0."""
    known = KNOWN_MODELS.get(model)
    if known is None and not weights and download:
        return Numbers(config, int(download), ("The size of the weights is download_gib.",))
    if known is None or (config is not None and weights):
        return Numbers(config, weights)
    lacking = ["config.json"] if config is None else []
    notes = [f"{' and '.join(lacking)} as published at huggingface.co."] if lacking else []
    if not weights:
        notes.append(f"The size of the weights is from {known.source}.")
    return Numbers(config or known.config, weights or known.weights, tuple(notes))
