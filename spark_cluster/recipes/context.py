"""May the longest sequence be longer than the model's own? Pure.

Source: vllm/config/model.py. vLLM ends at once, unless a variable lets it pass. Whether the factor
of YaRN in config.json makes the model's own longer changed between its releases.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_cluster.core.step import Problem
from spark_cluster.recipes.demand import ALLOW_LONG, Demand
from spark_cluster.recipes.model_config import ModelConfig


@dataclass(frozen=True)
class Beyond:
    """What is to be said of a length beyond the model's own: nothing, or one of the three."""

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def beyond(demand: Demand, config: ModelConfig | None) -> Beyond:
    """A problem for vLLM, a warning if something stretches the model's own; a note for another
    engine, and where that is not known."""
    own = config.context if config is not None else None
    if config is None or own is None or demand.context is None or demand.context <= own:
        return Beyond()
    said = f"max-model-len {demand.context:,} is longer than the model's own {own:,}"
    if not demand.is_vllm or demand.stretched_by is None:
        return Beyond(notes=(f"{said}.",))
    by = demand.stretched_by or ("its config.json" if config.scaled else "")
    if by:
        remedy = "Try a prompt of that length: vLLM may still end, or answer without sense."
        return Beyond(warnings=(Problem("RECIPE008", f"{said}, which {by} may stretch", remedy),))
    remedy = (
        f"Set max-model-len to {own} or less; or, if the model was made for more, stretch it with "
        f"hf-overrides, or let it pass with {ALLOW_LONG} in `env:`."
    )
    return Beyond(problems=(Problem("RECIPE008", f"{said}: vLLM ends at once", remedy),))
