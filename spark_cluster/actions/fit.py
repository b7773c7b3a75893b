"""Whether a recipe fits: from its nominal numbers, or from what the hosts say."""

from __future__ import annotations

from dataclasses import replace

from spark_cluster.actions.deploying import Choices, demand_of, deploy
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import read_hosts
from spark_cluster.core.error import SparkError
from spark_cluster.core.units import GIB
from spark_cluster.engines.spec import Deployment
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.model_config import MODEL_CONFIG
from spark_cluster.facts.storage import MODEL
from spark_cluster.inventory.loader import select
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes.demand import plain
from spark_cluster.recipes.fit import NOMINAL, ROUGH, Fit, Memory, fit
from spark_cluster.recipes.known_models import drafts, in_memory, numbers
from spark_cluster.recipes.models import Recipe


def nominal(recipe: Recipe) -> Fit:
    """On Sparks of the usual size, with the numbers known of the model."""
    known = numbers(recipe.model, download=_download(recipe))
    draft = drafts(each.model for each in recipe.drafts)
    weights = _in_memory(recipe, known.weights, draft)
    result = fit(demand_of(recipe), known.config, weights, [NOMINAL], draft)
    return replace(result, notes=(*known.notes, *result.notes))


def _in_memory(recipe: Recipe, weights: int | None, draft: int) -> int | None:
    env = {name: choice.text for name, choice in recipe.env.items()}
    return in_memory(weights, draft, env, plain(recipe.args))


def on_hosts(inventory: Inventory, recipe: Recipe, names: list[str], operator: Operator) -> Fit:
    """On these hosts or this group, as they are now. Raises Unreachable."""
    group = names[0] if len(names) == 1 else ",".join(names)
    if group not in inventory.groups and len(names) > 1:
        members = tuple(select(inventory, names))
        groups = {**inventory.groups, group: members}
        inventory = inventory.model_copy(update={"groups": groups})
    elif group not in inventory.groups:
        select(inventory, names)
        inventory = inventory.model_copy(update={"groups": {**inventory.groups, group: (group,)}})
    deployment, members = deploy(inventory, recipe, Choices(group=group, anyway=True), run="")
    facts = (MEMORY, MODEL, MODEL_CONFIG, CONTAINERS)
    readings: dict[str, Facts] = {}
    for name, reading in read_hosts(inventory, members, facts, operator, deployment).items():
        if isinstance(reading, SparkError):
            raise reading
        readings[name] = reading
    complete = [r[MODEL].weight_bytes for r in readings.values() if r[MODEL].is_complete]
    configs = [c for r in readings.values() if (c := r[MODEL_CONFIG].config) is not None]
    known = numbers(
        recipe.model,
        next(iter(configs), None),
        max(complete, default=None),
        _download(recipe),
    )
    memories = [_memory(name, reading, deployment) for name, reading in readings.items()]
    held = [[one.weight_bytes for one in reading[MODEL].drafts] for reading in readings.values()]
    draft = drafts((each.model for each in recipe.drafts), max(held, key=sum, default=[]))
    weights = _in_memory(recipe, known.weights, draft)
    result = fit(demand_of(recipe), known.config, weights, memories, draft)
    return replace(result, notes=(*known.notes, *_running(readings, deployment), *result.notes))


def _download(recipe: Recipe) -> float:
    """What the recipe says of the model's size, in bytes, for engines of a rough sum; else 0."""
    return recipe.requires.download_gib * GIB if recipe.engine in ROUGH else 0.0


def _memory(name: str, reading: Facts, deployment: Deployment) -> Memory:
    """What a running copy of this very deployment holds is its own."""
    is_ours = _is_running(name, reading, deployment)
    memory = reading[MEMORY]
    return Memory(name, memory.total, None if is_ours else memory.available)


def _is_running(name: str, reading: Facts, deployment: Deployment) -> bool:
    found = reading[CONTAINERS].named(deployment.container(name).name)
    return found is not None and found.running and found.label("recipe") == deployment.recipe


def _running(readings: dict[str, Facts], deployment: Deployment) -> list[str]:
    names = [name for name, reading in readings.items() if _is_running(name, reading, deployment)]
    return [f"It runs on {', '.join(names)} now: free memory is not looked at."] if names else []
