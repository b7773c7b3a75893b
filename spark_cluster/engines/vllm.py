"""vLLM without Ray: `vllm serve` is the container's own command, on one host or on several.

On several hosts vLLM's mp executor (0.11.1 and later) joins them: the head serves the API, the
others run headless and wait for the head. Source of the flags: vLLM's `serve` command line.
"""

from __future__ import annotations

from collections.abc import Mapping

from spark_cluster.engines import common
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import Deployment
from spark_cluster.recipes.models import Recipe

#: vLLM's own default of --master-port.
_MASTER_PORT = 29501


def deploy(
    recipe: Recipe, placement: Placement, run: str, contents: Mapping[str, str]
) -> Deployment:
    """The deployment. `contents` maps each `files[].source` of the recipe to its text."""
    master = recipe.rendezvous_port or _MASTER_PORT
    several = recipe.nodes > 1
    ports = (master, recipe.port) if several else (recipe.port,)
    ranks = [
        common.Rank(
            "vllm",
            serve_command(recipe, _join(placement, rank, master) if several else ()),
            {"VLLM_HOST_IP": placement.address(rank)} if several else {},
            ports if rank == 0 else (),
        )
        for rank in range(recipe.nodes)
    ]
    return common.deploy(recipe, placement, run, contents, ranks)


def serve_command(recipe: Recipe, join: tuple[str, ...] = ()) -> tuple[str, ...]:
    """`vllm serve` with the recipe's arguments; `join` are those of a rank among several."""
    there = () if "--headless" in join else ("--host", "0.0.0.0", "--port", str(recipe.port))
    given = (*common.flags(recipe), *common.served_name(recipe))
    return ("vllm", "serve", recipe.model_path or recipe.model, *given, *join, *there)


def _join(placement: Placement, rank: int, master: int) -> tuple[str, ...]:
    words = (
        "--nnodes", str(len(placement.hosts)),
        "--node-rank", str(rank),
        "--master-addr", placement.address(0),
        "--master-port", str(master),
    )  # fmt: skip
    return words if rank == 0 else (*words, "--headless")
