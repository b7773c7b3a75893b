"""The model's config.json as the node's Hugging Face cache has it."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.engines.spec import host_path
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.recipes import model_config
from spark_cluster.recipes.model_config import ModelConfig

#: A quantized model's file may list every layer; past this it is no configuration any more.
_MOST_BYTES = 4 * 1024**2


@dataclass(frozen=True)
class ModelConfigFact:
    """`config` is None if the cache has no such file or it holds other numbers than expected."""

    config: ModelConfig | None = None


def _script(context: ProbeContext) -> str:
    folder = context.deployment.model_folder if context.deployment else ""
    if not folder:
        return "true"
    return f"""\
_m={host_path(folder)}
_rev=$(cat "$_m/refs/main" 2>/dev/null)
[ -z "$_rev" ] || head -c {_MOST_BYTES} "$_m/snapshots/$_rev/config.json" 2>/dev/null
true
"""


def parse(text: str) -> ModelConfigFact:
    return ModelConfigFact(model_config.parse(text))


MODEL_CONFIG = Fact("model-config", _script, parse)
