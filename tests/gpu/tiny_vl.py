"""A Qwen3-VL-MoE of four layers with a vocabulary of bytes, as Hugging Face's cache keeps a model.

It has no weights: vLLM's `--load-format dummy` makes some up. It has all that the real model's
processor needs, so that every argument of the recipe qwen3-vl-235b is accepted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAME = "spark-cluster/tiny-qwen3-vl-moe"
AWQ = f"{NAME}-awq"
LAYERS, HIDDEN = 4, 512
CONTEXT = 262_144
_REVISION = "0" * 40

#: The tokens behind the 256 bytes.
_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_IDS = {name: number for number, name in enumerate(_SPECIAL, start=256)}
_END, _STOP = _IDS["<|endoftext|>"], _IDS["<|im_end|>"]

_TEXT = {
    "model_type": "qwen3_vl_moe_text",
    "vocab_size": 512,
    "num_hidden_layers": LAYERS,
    "hidden_size": HIDDEN,
    "head_dim": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "intermediate_size": 1024,
    "moe_intermediate_size": 512,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "rope_theta": 5_000_000,
    "rope_scaling": {
        "rope_type": "default",
        "mrope_interleaved": True,
        "mrope_section": [24, 20, 20],
    },
    "max_position_embeddings": CONTEXT,
    "bos_token_id": _END,
    "eos_token_id": _STOP,
    "use_cache": True,
    "dtype": "float16",
}

_VISION = {
    "model_type": "qwen3_vl_moe",
    "depth": 3,
    "hidden_size": 256,
    "out_hidden_size": HIDDEN,
    "num_heads": 4,
    "intermediate_size": 512,
    "hidden_act": "gelu_pytorch_tanh",
    "initializer_range": 0.02,
    "in_channels": 3,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [0, 1],
}

_AWQ_CONFIG = {
    "quant_method": "awq",
    "version": "gemm",
    "bits": 4,
    "group_size": 128,
    "zero_point": True,
    "modules_to_not_convert": ["visual", "mlp.gate", "lm_head"],
}

_PIXELS = {
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
}

_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content -%}
{% if part.type == 'text' %}{{ part.text }}{% else %}<|vision_start|><|image_pad|><|vision_end|>\
{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor -%}
<|im_start|>assistant
"""


def _byte_names() -> list[str]:
    """The printable characters that GPT-2's byte-level vocabulary has for the 256 bytes."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(value if value in plain else next(others)) for value in range(256)]


def _config(*, awq: bool) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3VLMoeForConditionalGeneration"],
        "model_type": "qwen3_vl_moe",
        "torch_dtype": "float16",
        "tie_word_embeddings": False,
        "image_token_id": _IDS["<|image_pad|>"],
        "video_token_id": _IDS["<|video_pad|>"],
        "vision_start_token_id": _IDS["<|vision_start|>"],
        "vision_end_token_id": _IDS["<|vision_end|>"],
        "text_config": _TEXT,
        "vision_config": _VISION,
        **({"quantization_config": _AWQ_CONFIG} if awq else {}),
    }


def _tokenizer() -> dict[str, Any]:
    """The files that make text of bytes."""
    vocabulary = {name: number for number, name in enumerate(_byte_names())}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = {number: {"content": name, "special": True, **flags} for name, number in _IDS.items()}
    bytewise = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False,
    }  # fmt: skip
    return {
        "vocab.json": vocabulary,
        "tokenizer.json": {
            "version": "1.0",
            "added_tokens": [{"id": number, **entry} for number, entry in added.items()],
            "normalizer": None,
            "pre_tokenizer": bytewise,
            "post_processor": None,
            "decoder": bytewise,
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "Qwen2Tokenizer",
            "added_tokens_decoder": {str(number): entry for number, entry in added.items()},
            "additional_special_tokens": list(_SPECIAL[1:]),
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": CONTEXT,
            "chat_template": _TEMPLATE,
        },
    }


def _files(*, awq: bool) -> dict[str, Any]:
    return {
        "config.json": _config(awq=awq),
        "generation_config.json": {
            "bos_token_id": _END, "eos_token_id": [_STOP, _END],
            "do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20,
        },
        "chat_template.json": {"chat_template": _TEMPLATE},
        "preprocessor_config.json": {
            **_PIXELS,
            "image_processor_type": "Qwen2VLImageProcessorFast",
            "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216},
        },
        "video_preprocessor_config.json": {
            **_PIXELS,
            "video_processor_type": "Qwen3VLVideoProcessor",
            "size": {"shortest_edge": 4_096, "longest_edge": 25_165_824},
        },
        **_tokenizer(),
    }  # fmt: skip


def write(home: Path) -> None:
    """Put both models, plain and AWQ, into the cache at `home`, which HF_HOME names."""
    for name in (NAME, AWQ):
        folder = home / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = folder / "snapshots" / _REVISION
        snapshot.mkdir(parents=True, exist_ok=True)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(_REVISION)
        for file, content in _files(awq=name == AWQ).items():
            (snapshot / file).write_text(json.dumps(content, ensure_ascii=False))
        (snapshot / "merges.txt").write_text("#version: 0.2\n")
