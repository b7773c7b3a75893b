"""Ollama: one container that serves, and makes the recipe's model from its Modelfile.

Source: Ollama's documentation of its commands and of its server's variables. It keeps models in a
store of its own and fetches the Modelfile's FROM if it is not there.
"""

from __future__ import annotations

from collections.abc import Mapping

from spark_cluster.core.labels import LABEL
from spark_cluster.core.shell import quote
from spark_cluster.engines import common
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import Deployment
from spark_cluster.recipes.models import Recipe
from spark_cluster.recipes.ollama import MODELFILE

_STORE = "/root/.ollama"


def deploy(
    recipe: Recipe, placement: Placement, run: str, contents: Mapping[str, str]
) -> Deployment:
    """The deployment. `contents` maps each `files[].source` of the recipe to its text."""
    # The container ends if the model cannot be made: a server without its model is no success.
    rank = common.Rank(
        "ollama",
        ("-c", common.shipped("ollama_start.sh", MAKE=_make(recipe))),
        {"OLLAMA_HOST": f"0.0.0.0:{recipe.port}"},
        (recipe.port,),
        cache=_STORE,
        entrypoint="/bin/sh",
        labels={f"{LABEL}.api": "ollama"},
    )
    return common.deploy(
        recipe,
        placement,
        run,
        contents,
        [rank],
        api="ollama",
        health=("ollama", "show", recipe.client_model),
        model_folder="",
    )


def _make(recipe: Recipe) -> str:
    name = quote(recipe.client_model)
    if any(entry.target == MODELFILE for entry in recipe.files):
        return f"ollama create {name} -f {MODELFILE}"
    return f"ollama pull {name}"
