"""What a model's config.json says about its KV cache. Pure.

The names are those of transformers: `num_hidden_layers`, `num_attention_heads`,
`num_key_value_heads`, `head_dim`, `max_position_embeddings` (`model_max_length` goes over it),
`dtype` (before 4.56 `torch_dtype`).
A model that also sees keeps those of its language model in `text_config`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Where a language model inside a larger one keeps its numbers.
_INNER = ("text_config", "llm_config", "language_config")

#: A layer that keeps something else than one key and one value per KV head and token.
_OTHER_ATTENTION: tuple[tuple[str, str], ...] = (
    ("mamba_d_state", "it has Mamba layers"),
    ("mamba_num_heads", "it has Mamba layers"),
    ("ssm_cfg", "it has Mamba layers"),
    ("linear_num_key_heads", "it has linear attention"),
    ("attn_type_list", "its layers differ in their attention"),
    ("layers_block_type", "its layers differ in their attention"),
    ("block_configs", "its layers differ in their attention"),
    ("num_kv_shared_layers", "its layers share KV caches"),
)


#: Types of layers whose cache does not grow with the sequence: states of a fixed size, windows.
_CONSTANT = ("linear_attention", "mamba", "sliding_attention", "conv", "moe", "mlp")

#: Types of scaling whose `max_position_embeddings` is the scaled one (vllm/config/model.py).
_SCALED_ALREADY = ("su", "longrope", "llama3")


@dataclass(frozen=True)
class ModelConfig:
    """`context` is the longest sequence in tokens, None if the file names none; `scaled`: by a
    factor of its rotary positions it may be longer. `growing` layers keep something of each token,
    the others states or windows of a fixed size; None: all. With latent attention (MLA) a layer
    keeps `latent` elements a token, whole on each rank. `other` says why the KV cache of this model
    cannot be computed from the numbers here; empty if it can."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    dtype: str = "bfloat16"
    context: int | None = None
    other: str = ""
    scaled: bool = False
    growing: int | None = None
    latent: int | None = None


def parse(text: str) -> ModelConfig | None:
    """The numbers of a config.json; None if it is not there, broken, or of another kind."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    inner = next((data[key] for key in _INNER if isinstance(data.get(key), dict)), data)
    return _read({**data, **inner})


def _read(data: Mapping[str, Any]) -> ModelConfig | None:
    layers = _positive(data.get("num_hidden_layers"))
    heads = _positive(data.get("num_attention_heads"))
    hidden = _positive(data.get("hidden_size"))
    if layers is None or heads is None:
        return None
    head_dim = _positive(data.get("head_dim")) or (hidden // heads if hidden else None)
    if not head_dim:
        return None
    dtype = data.get("dtype") or data.get("torch_dtype")
    return ModelConfig(
        layers=layers,
        heads=heads,
        kv_heads=_positive(data.get("num_key_value_heads")) or heads,
        head_dim=head_dim,
        dtype=dtype if isinstance(dtype, str) else "bfloat16",
        context=_positive(data.get("model_max_length"))
        or _positive(data.get("max_position_embeddings")),
        other=_other(data),
        scaled=_scaled(data),
        growing=_growing(data, layers),
        latent=_latent(data),
    )


def _growing(data: Mapping[str, Any], layers: int) -> int | None:
    """The layers whose cache grows, by whichever field tells; None if none does. `*` is attention
    in the pattern of the Nemotrons; every `full_attention_interval`th layer is in the Qwens."""
    kinds = data.get("layer_types")
    if isinstance(kinds, list) and set(map(str, kinds)) <= {"full_attention", *_CONSTANT}:
        return kinds.count("full_attention")
    pattern = data.get("hybrid_override_pattern")
    if isinstance(pattern, str) and pattern:
        return pattern.count("*")
    interval = _positive(data.get("full_attention_interval"))
    return layers // interval if interval else None


def _latent(data: Mapping[str, Any]) -> int | None:
    rank = _positive(data.get("kv_lora_rank"))
    return rank + (_positive(data.get("qk_rope_head_dim")) or 0) if rank else None


def _scaled(data: Mapping[str, Any]) -> bool:
    """A factor that is not in `max_position_embeddings` already. transformers 5 calls the field
    `rope_parameters`, and may have one for each type of layer."""
    rope = data.get("rope_scaling") or data.get("rope_parameters")
    found = [rope, *rope.values()] if isinstance(rope, dict) else []
    return any(
        isinstance(one, dict)
        and bool(one.get("factor"))
        and one.get("rope_type", one.get("type")) not in _SCALED_ALREADY
        for one in found
    )


def _other(data: Mapping[str, Any]) -> str:
    if _growing(data, 1) is not None:
        return ""
    for key, why in _OTHER_ATTENTION:
        if data.get(key):
            return f"{why} ({key})"
    kinds = data.get("layer_types")
    if isinstance(kinds, list):
        odd = sorted({str(kind) for kind in kinds} - {"full_attention"})
        return f"its layers differ in their attention ({', '.join(odd)})" if odd else ""
    if data.get("sliding_window") and data.get("use_sliding_window", True):
        return "it has sliding windows (sliding_window)"
    return ""


def _positive(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_count else None
