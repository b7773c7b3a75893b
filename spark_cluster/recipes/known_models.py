"""The numbers of models whose files are not on a host yet, so that `recipes fit` needs no host.

What the node's cache holds comes first; these are only its stand-in: known_models.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from spark_cluster.core.data_files import DataTable, read_yaml
from spark_cluster.document import Document
from spark_cluster.recipes.model_config import ModelConfig


class KnownModel(Document):
    """`weights` in bytes; no `config` where not all of its numbers are known."""

    config: ModelConfig | None = None
    weights: int
    source: str


class _Table(Document):
    models: dict[str, KnownModel]
    heads: Mapping[str, int]


@cache
def _table() -> _Table:
    return read_yaml(_Table, "spark_cluster.recipes", "known_models.yaml")


KNOWN_MODELS: Mapping[str, KnownModel] = DataTable(lambda: _table().models)


def heads_of(model: str) -> int | None:
    """The attention heads of a model that is known here, which tensor parallel has to divide."""
    known = KNOWN_MODELS.get(model)
    if known is not None and known.config is not None:
        return known.config.heads
    return next((heads for part, heads in _table().heads.items() if part in model.lower()), None)


def in_memory(
    weights: int | None, draft: int, env: Mapping[str, str], args: Mapping[str, object]
) -> int | None:
    """The weights with the draft's, in bytes. None where they are not known, or where the engine is
    told to leave tables of embeddings, of whose size nobody tells, on the disk."""
    on_disk = env.get("VLLM_PLE_TABLE_MEMORY") == "disk"
    on_disk = on_disk or '"disk"' in str(args.get("engram-config", ""))
    return None if on_disk or not weights else weights + draft


@dataclass(frozen=True)
class Numbers:
    """What is known of a model, and in `notes` where it is not from a host's cache."""

    config: ModelConfig | None
    weights: int | None
    notes: tuple[str, ...] = ()


def drafts(models: Iterable[str], weights: Sequence[int] = ()) -> int:
    """The bytes of drafts: those of a host's cache, else those known here; 0 for the others."""
    known = (KNOWN_MODELS[name].weights for name in models if name in KNOWN_MODELS)
    return sum(weights) or sum(known)


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
    lacking = ["config.json"] if config is None and known.config is not None else []
    notes = [f"{' and '.join(lacking)} as published at huggingface.co."] if lacking else []
    if not weights:
        notes.append(f"The size of the weights is from {known.source}.")
    return Numbers(config or known.config, weights or known.weights, tuple(notes))
