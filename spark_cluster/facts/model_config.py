"""The model's config.json as the node's Hugging Face cache has it."""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.storage import snapshot_script
from spark_cluster.recipes import model_config
from spark_cluster.recipes.model_config import ModelConfig

#: A quantized model's file may list every layer; past this it is no configuration any more.
_MOST_BYTES = 4 * 1024**2


@dataclass(frozen=True)
class ModelConfigFact:
    """`config` is None if the cache has no such file or it holds other numbers than expected."""

    config: ModelConfig | None = None


def _script(context: ProbeContext) -> str:
    deployment = context.deployment
    if deployment is None or not deployment.model_folder:
        return "true"
    return f"""\
{snapshot_script(deployment.model_folder, deployment.revision)}
[ -z "$_rev" ] || head -c {_MOST_BYTES} "$_m/snapshots/$_rev/config.json" 2>/dev/null
true
"""


def parse(text: str) -> ModelConfigFact:
    return ModelConfigFact(model_config.parse(text))


MODEL_CONFIG = Fact("model-config", _script, parse)
