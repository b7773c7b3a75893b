"""vLLM over Ray: a Ray head and workers as containers, `vllm serve` inside the head's.

Source of the flags: the project's seed set-up of January 2026, vLLM 0.11 in
nvcr.io/nvidia/vllm:25.11-py3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from spark_cluster.engines import common, vllm
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import Deployment, HostFile
from spark_cluster.recipes.models import Recipe

#: The file in which vLLM is told what of the driver's environment not to copy over the workers' own
#: (vllm/ray/ray_env.py); it copies all of NCCL_ and UCX_, and never VLLM_HOST_IP.
_OWN = "ray_non_carry_over_env_vars.json"
_CONFIG_ROOT = "/root/.config/vllm"


def deploy(
    recipe: Recipe, placement: Placement, run: str, contents: Mapping[str, str]
) -> Deployment:
    """The deployment. `contents` maps each `files[].source` of the recipe to its text."""
    ports = (recipe.ray.port, recipe.ray.dashboard_port, recipe.port)
    own = [{"VLLM_HOST_IP": placement.address(rank)} for rank in range(recipe.nodes)]
    kept = _own_variables(
        [common.environment(recipe, placement, rank, env) for rank, env in enumerate(own)]
    )
    ranks = [
        common.Rank(
            "vllm",
            _ray_command(recipe, placement, rank),
            env,
            ports if rank == 0 else (),
            kept if rank == 0 else {},
        )
        for rank, env in enumerate(own)
    ]
    return common.deploy(
        recipe,
        placement,
        run,
        contents,
        ranks,
        serve=vllm.serve_command(recipe),
        ray_dashboard_port=recipe.ray.dashboard_port,
    )


def _own_variables(environments: Sequence[Mapping[str, str]]) -> dict[str, HostFile]:
    """The file, by its place in the head's container, that leaves each rank its own device and
    interface where they differ, as between the ends of a cable in a ring."""
    head = environments[0]
    names = {
        name
        for env in environments
        for name in env.keys() | head
        if env.get(name) != head.get(name)
    } - {"VLLM_HOST_IP"}
    if not names:
        return {}
    folder = head.get("VLLM_CONFIG_ROOT", _CONFIG_ROOT)
    return {f"{folder}/{_OWN}": common.host_file(_OWN, json.dumps(sorted(names)) + "\n")}


def _ray_command(recipe: Recipe, placement: Placement, rank: int) -> tuple[str, ...]:
    head = (
        "--head",
        f"--port={recipe.ray.port}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={recipe.ray.dashboard_port}",
        "--disable-usage-stats",
    )
    joins = (f"--address={placement.address(0)}:{recipe.ray.port}",)
    own = (f"--node-ip-address={placement.address(rank)}", "--num-gpus=1", "--block")
    return ("ray", "start", *(head if rank == 0 else joins), *own)
