"""Find a model in the Hugging Face cache, and read its sizes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from .release import later

# Qwen3-VL-235B-A22B, for a model whose config.json says nothing.
LAYERS, HIDDEN, KV_HEADS, CONTEXT = 94, 4096, 4, 262_144
GPU_GIB = 119.7  # what a GB10 reports to CUDA

OFFLINE = (
    "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot "
    "folder for the specified revision on the local disk and outgoing traffic has been disabled. "
    "To enable repo look-ups and downloads online, set 'HF_HUB_OFFLINE=0' as environment variable."
)
NO_HUB = (
    "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't "
    "find them in the cached files.\nCheck your internet connection or see how to run the library "
    "in offline mode at 'https://huggingface.co/docs/transformers/installation#offline-mode'."
)


class ModelError(Exception):
    """The model is not there, or not complete; the text is what vLLM would print."""


class Model(NamedTuple):
    """A model's folder and the sizes that matter here."""

    path: str
    """What vLLM calls it from now on: offline its snapshot's folder, otherwise the given name."""
    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    context: int
    architecture: str
    shards: int
    gib: float

    def told(self, name: str, context: int) -> list[tuple[str, str]]:
        """What every `vllm serve` says of the model that it was given as `name`."""
        lines = []
        if self.path != name:
            text = "HF_HUB_OFFLINE is True, replace model_id"
            lines.append(("arg_utils.py:757", f"{text} [{name}] to model_path [{self.path}]"))
        where = later("model.py:611", "model.py:547")
        lines.append((where, f"Resolved architecture: {self.architecture}"))
        lines.append((later("model.py:1745", "model.py:1510"), f"Using max model len {context}"))
        return lines

    def kv_bytes_per_token(self, element: int, tp: int) -> int:
        """What one token takes in the KV cache of one rank."""
        return self.layers * 2 * max(1, self.kv_heads // tp) * self.head_dim * element


def cache_folder(env: Mapping[str, str]) -> str:
    """The hub cache: HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub."""
    if env.get("HF_HUB_CACHE"):
        return env["HF_HUB_CACHE"]
    home = env.get("HF_HOME") or f"{env.get('HOME', '/root')}/.cache/huggingface"
    return f"{home}/hub"


def _is_file(path: str) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - pathlib is slow to import


def _json(path: str) -> dict[str, Any]:
    try:
        with open(path) as file:  # noqa: PTH123
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _snapshot(name: str, env: Mapping[str, str]) -> str:
    if name.startswith(("/", "./", "../")):
        if not _is_file(f"{name}/config.json"):
            raise ModelError(
                f"OSError: Incorrect path_or_model_id: '{name}'. Please provide either the path to "
                "a local folder or the repo_id of a model on the Hub."
            )
        return name
    folder = f"{cache_folder(env)}/models--{name.replace('/', '--')}"
    try:
        with open(f"{folder}/refs/main") as file:  # noqa: PTH123
            path = f"{folder}/snapshots/{file.read().strip()}"
    except OSError:
        path = ""
    if path and _is_file(f"{path}/config.json"):
        return path
    raise ModelError(OFFLINE if _offline(env) else NO_HUB)


def _offline(env: Mapping[str, str]) -> bool:
    return env.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _weights(path: str, dummy: bool) -> tuple[int, int]:
    index = _json(f"{path}/model.safetensors.index.json")
    names = sorted(set(index.get("weight_map", {}).values()))
    if not names:
        names = [n for n in os.listdir(path) if n.endswith((".safetensors", ".bin"))]  # noqa: PTH208
    missing = [n for n in names if not _is_file(f"{path}/{n}")]
    if dummy:
        return max(1, len(names)), 0
    if missing or not names:
        detail = f" (missing: {', '.join(missing[:3])})" if missing else ""
        raise ModelError(f"RuntimeError: Cannot find any model weights with `{path}`{detail}")
    size = sum(os.stat(f"{path}/{n}").st_size for n in names)  # noqa: PTH116
    return len(names), size


def find_model(name: str, env: Mapping[str, str], load_format: str = "auto") -> Model:
    """The model's snapshot in this container's cache, complete."""
    path = _snapshot(name, env)
    config = _json(f"{path}/config.json")
    text = config.get("text_config")
    sizes = {**config, **text} if isinstance(text, dict) else config

    def number(key: str, default: int) -> int:
        value = sizes.get(key, default)
        return value if isinstance(value, int) and value > 0 else default

    shards, size = _weights(path, load_format == "dummy")
    hidden = number("hidden_size", HIDDEN)
    heads = number("num_attention_heads", 64)
    architectures = config.get("architectures") or ["Qwen3VLMoeForConditionalGeneration"]
    return Model(
        path=path if _offline(env) else name,
        layers=number("num_hidden_layers", LAYERS),
        hidden=hidden,
        kv_heads=number("num_key_value_heads", KV_HEADS),
        head_dim=number("head_dim", max(1, hidden // heads)),
        context=number("max_position_embeddings", CONTEXT),
        architecture=str(architectures[0]),
        shards=shards,
        gib=size / 2**30,
    )
