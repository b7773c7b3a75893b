"""The model's stand-in on disk: the real architecture numbers over two tiny shards.

Laid out as Hugging Face's hub cache is, so that what checks, sizes and copies models meets the
real thing: blobs named by what is in them, symlinks from the snapshot, refs/main.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

NAME = "QuantTrio/Qwen3-VL-235B-A22B-Instruct-AWQ"
REVISION = "5bac1a5b7d3e0c94a1f28d6cc0ffee0123456789"

_TEXT = {
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "max_position_embeddings": 262144,
    "model_type": "qwen3_vl_moe_text",
    "moe_intermediate_size": 1536,
    "norm_topk_prob": True,
    "num_attention_heads": 64,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 94,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 5000000,
    "torch_dtype": "bfloat16",
    "vocab_size": 151936,
}

CONFIG = {
    "architectures": ["Qwen3VLMoeForConditionalGeneration"],
    "model_type": "qwen3_vl_moe",
    "quantization_config": {
        "bits": 4,
        "group_size": 128,
        "quant_method": "awq",
        "version": "gemm",
        "zero_point": True,
    },
    "text_config": _TEXT,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def safetensors(names: list[str], seed: int) -> bytes:
    """A valid shard: every tensor is eight bytes."""
    header = {
        name: {"dtype": "I32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]}
        for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + bytes([seed]) * (8 * len(names))


def write_hub(hub: Path) -> None:
    """Write the model into a hub cache folder."""
    shards = {
        f"model-{i + 1:05d}-of-00002.safetensors": [
            f"model.language_model.layers.{layer}.self_attn.q_proj.qweight"
            for layer in range(47 * i, 47 * (i + 1))
        ]
        for i in range(2)
    }
    weight_map = {tensor: file for file, tensors in shards.items() for tensor in tensors}
    files = {file: safetensors(tensors, i) for i, (file, tensors) in enumerate(shards.items())}
    size = sum(8 * len(tensors) for tensors in shards.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    files["config.json"] = json.dumps(CONFIG, indent=2).encode()
    files["model.safetensors.index.json"] = json.dumps(index, indent=2).encode()
    files["tokenizer_config.json"] = b'{"tokenizer_class": "Qwen2Tokenizer"}\n'

    folder = hub / f"models--{NAME.replace('/', '--')}"
    snapshot = folder / "snapshots" / REVISION
    for path in (folder / "blobs", folder / "refs", snapshot):
        path.mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    for file, content in files.items():
        blob = blob_name(file, content)
        (folder / "blobs" / blob).write_bytes(content)
        (snapshot / file).symlink_to(f"../../blobs/{blob}")


def blob_name(file: str, content: bytes) -> str:
    """The hub names large files by their sha256 and small ones as git does."""
    if file.endswith(".safetensors"):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
