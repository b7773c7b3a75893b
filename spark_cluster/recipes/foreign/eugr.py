"""Recipes of eugr/spark-vllm-docker (recipes/*.yaml, format 1): a container and a command template.

Fields as its run-recipe.py reads them.
"""

from __future__ import annotations

from typing import Any

from spark_cluster.recipes.foreign import command, template
from spark_cluster.recipes.foreign.formats import formats
from spark_cluster.recipes.foreign.theirs import Theirs


def convert(theirs: Theirs) -> dict[str, Any]:
    """The fields of a recipe of ours. Raises InputError."""
    theirs.only(formats().eugr)
    container = command.image(theirs)
    defaults = theirs.defaults()
    if theirs.flag("solo_only"):  # its own --solo does the same
        defaults = {**defaults, "tensor_parallel": 1, "pipeline_parallel": 1}
    model = theirs.text("model", "")
    values = {"model": model, **defaults} if model else defaults
    set_before, words = command.words(theirs, template.fill_format, values)
    return {**command.recipe(theirs, container, words, model, set_before), **theirs.mods()}
