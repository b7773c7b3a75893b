"""A Llama of two layers with a vocabulary of 256 words, as Hugging Face's cache keeps a model.

It has no weights: vLLM's `--load-format dummy` makes some up.
"""

from __future__ import annotations

import json
from pathlib import Path

NAME = "spark-cluster/tiny-llama"
LAYERS = 2
HIDDEN = 128
_CONTEXT = 512
_REVISION = "0" * 40

_WORDS = ["<unk>", "<s>", "</s>", *(f"word{number}" for number in range(3, 256))]

_FILES = {
    "config.json": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": LAYERS,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(_WORDS),
        "max_position_embeddings": _CONTEXT,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    },
    "tokenizer.json": {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(_WORDS)},
            "unk_token": "<unk>",
        },
    },
    "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "model_max_length": _CONTEXT,
    },
}


def write(home: Path) -> None:
    """Put the model into the cache at `home`, which HF_HOME names."""
    folder = home / "hub" / f"models--{NAME.replace('/', '--')}"
    snapshot = folder / "snapshots" / _REVISION
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(_REVISION)
    for name, content in _FILES.items():
        (snapshot / name).write_text(json.dumps(content))
