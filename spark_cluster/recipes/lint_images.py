"""The rules of lint.py about a recipe's image: what it holds, and what it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from packaging.version import Version

from spark_cluster.recipes.lint_finding import Finding, Loc, error, value_of, warning
from spark_cluster.recipes.lint_settings import Rule
from spark_cluster.recipes.lint_versions import held, is_fork, is_openai, ngc, release, vllm
from spark_cluster.recipes.models import Recipe

#: Tags that mean another image tomorrow; `nightly-20261015` and `nightly-<commit>` do not.
_MOVING = re.compile(r"(latest|main|dev)\b.*|nightly|\w+-(latest|nightly)")


def holds(recipe: Recipe) -> Iterator[Finding]:
    there = held(recipe.image)
    if there is not None and release(recipe.engine_version) != Version(there):
        field = "runtime_version" if recipe.tool == "sparkrun" else "engine_version"
        what = f"{recipe.image} holds vLLM {there}, {field} says {recipe.engine_version}"
        yield error(("engine_version",), "RECIPE005", what, f"Set `{field}: {there}`.")


def starts_by_itself(recipe: Recipe) -> Iterator[Finding]:
    """Without Ray the server is the container's own command, and `vllm` its entrypoint."""
    if is_openai(recipe.image) and recipe.engine == "vllm-ray":
        what = "vllm/vllm-openai starts the server itself; `ray start` would become its arguments"
        remedy = "Set `engine: vllm-mp`, or use NVIDIA's image."
        yield error(("image",), "RECIPE005", what, remedy)


def without_ray(recipe: Recipe) -> Iterator[Finding]:
    if recipe.engine != "vllm-ray":
        return
    month, told = ngc(recipe.image), held(recipe.image)
    old = told is not None and Version(told) < Version(vllm().ray_not_required)
    bare = is_openai(recipe.image) and not old
    if bare or (month is not None and month >= vllm().ngc_without_ray):
        what = f"{recipe.image} ships without Ray"
        yield error(("image",), "RECIPE005", what, "Set `engine: vllm-mp`, or an older image.")


def moves(recipe: Recipe) -> Iterator[Finding]:
    name, _, tag = recipe.image.rpartition("/")[2].partition(":")
    pinned = recipe.image_digest or "@sha256:" in recipe.image
    if not pinned and (not tag or _MOVING.fullmatch(tag)):
        what = f"{name}:{tag or 'latest'} is another image tomorrow, and on another host today"
        shown = "`docker inspect -f '{{index .RepoDigests 0}}' IMAGE`"
        remedy = f"Name a release, or add `image_digest` ({shown})"
        yield warning(("image",), "RECIPE006", what, f"{remedy}.")


def fork_only(recipe: Recipe) -> Iterator[Finding]:
    """What only the fork with the b12x kernels knows: vLLM itself passes over a variable, and ends
    for an argument."""
    if not recipe.engine.startswith("vllm") or is_fork(recipe.image):
        return
    is_stock = ngc(recipe.image) is not None or is_openai(recipe.image)
    remedy = "Use an image of the fork, such as eugr/spark-vllm-b12x, or remove it."
    for loc, said, is_fatal in _of_the_fork(recipe):
        what = f"{said}: only the fork with the b12x kernels knows it; vLLM itself "
        what += "ends at once" if is_fatal else "ignores it"
        kind = error if is_fatal and is_stock else warning
        yield kind(loc, "RECIPE003", what, remedy)


def _of_the_fork(recipe: Recipe) -> Iterator[tuple[Loc, str, bool]]:
    """Where, what, and whether vLLM itself ends because of it."""
    variables = re.compile("|".join(vllm().fork_variables))
    for name, choice in recipe.env.items():
        if variables.fullmatch(name) and choice.value is not None:
            yield ("env", name), name, False
    for name, choice in recipe.args.items():
        value = value_of(choice)
        if value is not None and name in vllm().fork_arguments:
            yield ("args", name), name, True
        elif value is not None and value.lower() == vllm().fork_value:
            yield ("args", name), f"{name} {value}", True


def shared_memory(recipe: Recipe) -> Iterator[Finding]:
    """The default is not told: it is not the recipe's."""
    if "shm_size" in recipe.model_fields_set:
        what = (
            f"shm_size {recipe.shm_size} has no effect: the containers have the host's IPC, and "
            "with it the host's /dev/shm"
        )
        remedy = "Remove it; `df -h /dev/shm` on the host says how large that is."
        yield warning(("shm_size",), "RECIPE006", what, remedy)


IMAGE_RULES: tuple[Rule, ...] = (
    holds, starts_by_itself, without_ray, moves, fork_only, shared_memory,
)  # fmt: skip
