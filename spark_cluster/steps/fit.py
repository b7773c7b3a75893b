"""Refuse a launch whose model cannot fit into the host's memory: the sum of recipes/fit.py.

Whether that memory is free just now is the step `memory`'s question.
"""

from __future__ import annotations

from collections.abc import Mapping

from spark_cluster.core.step import Assessment, Problem, found, skip
from spark_cluster.core.units import GIB
from spark_cluster.engines.spec import Deployment
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.memory import MEMORY
from spark_cluster.facts.model_config import MODEL_CONFIG
from spark_cluster.facts.storage import MODEL
from spark_cluster.recipes import command_line, ollama
from spark_cluster.recipes.command_line import Value
from spark_cluster.recipes.demand import BadArgument, Demand, of_arguments
from spark_cluster.recipes.fit import ROUGH, Fit, Memory, fit
from spark_cluster.recipes.known_models import drafts, in_memory, numbers
from spark_cluster.steps.base import NoParams, problem, step
from spark_cluster.steps.view import View


@step(
    "fit",
    "Check that the model fits into the memory",
    NoParams,
    reads=(MEMORY, MODEL, MODEL_CONFIG, CONTAINERS),
    depends=(MODEL, MODEL_CONFIG),  # of the memory only the total, which nothing changes
)
def model_fits(view: View, _: NoParams) -> Assessment:
    if view.own_container() is not None:
        return skip("this deployment already runs here")
    total = view.facts[MEMORY].total
    if not total:
        return found(problem("HOST003", "/proc/meminfo gave nothing"))
    try:
        demand = demand_of(view.serving)
    except BadArgument as bad:
        return found(problem("RECIPE005", str(bad)))
    model = view.facts[MODEL]
    known = numbers(
        view.serving.model,
        view.facts[MODEL_CONFIG].config,
        model.weight_bytes if model.is_complete else None,
        view.serving.download_gib * GIB if view.serving.engine in ROUGH else 0.0,
    )
    names = [each.name for each in view.serving.drafts]
    draft = drafts(names, [each.weight_bytes for each in model.drafts])
    weights = in_memory(known.weights, draft, *_settings(view.serving))
    result = fit(demand, known.config, weights, [Memory(view.name, total)], draft)
    notes = (*_said(result), *map(_warned, result.warnings), *known.notes, *result.notes)
    return found(*result.problems, notes=notes)


def demand_of(deployment: Deployment) -> Demand:
    """What the server's command line and variables ask for. Raises BadArgument."""
    head = deployment.container(deployment.head)
    if deployment.engine == "ollama":
        contents = {file.path: file.content for file in deployment.files}
        texts = [contents[m.source] for m in head.mounts if m.target == ollama.MODELFILE]
        return ollama.demand(head.env, "".join(texts))
    env, args = _settings(deployment)
    return of_arguments(deployment.engine, args, env)


def _settings(deployment: Deployment) -> tuple[Mapping[str, str], Mapping[str, Value]]:
    """The server's variables and arguments."""
    head = deployment.container(deployment.head)
    words = deployment.serve.command if deployment.serve else head.command
    return head.env, command_line.parse(words).args


def _warned(warning: Problem) -> str:
    return f"little room: {warning.what}" if warning.code == "RECIPE002" else warning.what


def _said(result: Fit) -> list[str]:
    if result.tokens is None or result.sequences is None:
        return []
    return [f"room for {result.tokens:,} tokens, {result.sequences:.1f} full sequences"]
