"""Recipes of eugr/spark-vllm-docker (recipes/*.yaml, format 1): a container and a command template.

Fields as its run-recipe.py reads them: name, container, command; description, model, mods,
build_args, pull_image, defaults, env, cluster_only, solo_only.
"""

from __future__ import annotations

from typing import Any

from spark_cluster.recipes.foreign import command, template
from spark_cluster.recipes.foreign.environment import environment
from spark_cluster.recipes.foreign.theirs import Theirs

_FIELDS = frozenset({"recipe_version", "name", "description", "model", "container", "command",
                     "mods", "build_args", "pull_image", "defaults", "env", "cluster_only",
                     "solo_only"})  # fmt: skip


def convert(theirs: Theirs) -> dict[str, Any]:
    """The fields of a recipe of ours. Raises InputError."""
    theirs.only(_FIELDS)
    refuse_mods(theirs)
    container = theirs.text("container")
    if theirs.data.get("build_args"):
        remark_build(theirs, container)
    solo, cluster = theirs.flag("solo_only"), theirs.flag("cluster_only")
    defaults = theirs.defaults()
    if solo:  # its own --solo does the same
        defaults = {**defaults, "tensor_parallel": 1, "pipeline_parallel": 1}
    model = theirs.text("model", "")
    values = {"model": model, **defaults} if model else defaults
    try:
        filled = template.fill_format(theirs.text("command"), values)
        set_before, words = template.words(filled)
    except template.BadTemplate as bad:
        raise theirs.refuse_template(("command",), bad) from bad
    server = command.read(theirs, words, model)
    fields = command.fields(
        theirs, server, ray=False, least=2 if cluster else 1, most=1 if solo else 8
    )
    return {
        **fields,
        **environment(theirs, fields["engine"], set_before),
        "name": theirs.name(),
        "title": theirs.title(),
        "image": container,
        "engine_version": command.release(container, "", is_vllm=server.is_vllm),
    }


def refuse_mods(theirs: Theirs) -> None:
    """Scripts that change the container after its start: without them it is another server."""
    theirs.absent(
        "mods",
        "spark-cluster changes nothing inside a container",
        "Make an image that has them (`docker commit` of a container in which they ran), name it "
        "in `container:`, and remove `mods:`.",
    )


def remark_build(theirs: Theirs, container: str) -> None:
    theirs.remark(f"{container} must be on the hosts: spark-cluster builds no images.")
