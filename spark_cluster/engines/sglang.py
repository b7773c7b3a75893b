"""SGLang: every rank runs the same server, the first one answers.

Source of the flags: the project's seed set-up of January 2026, nvcr.io/nvidia/sglang:25.11-py3.
"""

from __future__ import annotations

from collections.abc import Mapping

from spark_cluster.engines import common
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import Deployment
from spark_cluster.recipes.models import Recipe

_INIT_PORT = 20000

#: Without it the server has no /metrics, of which `status`, `watch` and `verify-rdma --live` live.
_METRICS = "enable-metrics"


def deploy(
    recipe: Recipe, placement: Placement, run: str, contents: Mapping[str, str]
) -> Deployment:
    """The deployment. `contents` maps each `files[].source` of the recipe to its text."""
    init = recipe.rendezvous_port or _INIT_PORT
    several = recipe.nodes > 1
    ports = (init, recipe.port) if several else (recipe.port,)
    ranks = [
        common.Rank(
            "sglang",
            _command(recipe, _join(placement, rank, init) if several else ()),
            _own(placement, rank, several),
            ports if rank == 0 else (),
        )
        for rank in range(recipe.nodes)
    ]
    return common.deploy(recipe, placement, run, contents, ranks)


def _command(recipe: Recipe, join: tuple[str, ...]) -> tuple[str, ...]:
    return (
        *("python3", "-m", "sglang.launch_server"),
        *("--model-path", recipe.model_path or recipe.model),
        *common.flags(recipe),
        *common.served_name(recipe),
        *(() if _METRICS in recipe.args else (f"--{_METRICS}",)),
        *join,
        *("--host", "0.0.0.0", "--port", str(recipe.port)),
    )


def _own(placement: Placement, rank: int, several: bool) -> dict[str, str]:
    """The address that a rank tells the others for its queues beside NCCL. SGLang guesses it
    otherwise, and where the guess is Wi-Fi's, the ranks wait for each other for ever."""
    return {"SGLANG_HOST_IP": placement.address(rank)} if several else {}


def _join(placement: Placement, rank: int, init: int) -> tuple[str, ...]:
    return (
        "--nnodes", str(len(placement.hosts)),
        "--node-rank", str(rank),
        "--dist-init-addr", f"{placement.address(0)}:{init}",
    )  # fmt: skip
