"""vLLM over Ray: a Ray head and workers as containers, `vllm serve` inside the head's.

Source of the flags: the project's seed set-up of January 2026, vLLM 0.11 in
nvcr.io/nvidia/vllm:25.11-py3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from spark_cluster.engines import common, vllm
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import Deployment, HostFile, Mount, ServeSpec
from spark_cluster.recipes.models import Recipe

#: The file in which vLLM is told what of the driver's environment not to copy over the workers' own
#: (vllm/ray/ray_env.py); it copies all of NCCL_ and UCX_, and never VLLM_HOST_IP.
_OWN = "ray_non_carry_over_env_vars.json"
_CONFIG_ROOT = "/root/.config/vllm"


def deploy(
    recipe: Recipe, placement: Placement, run: str, contents: Mapping[str, str]
) -> Deployment:
    """The deployment. `contents` maps each `files[].source` of the recipe to its text."""
    files = common.recipe_files(recipe, contents)
    volume = common.bytes_per_token(recipe)
    ports = (recipe.ray.port, recipe.ray.dashboard_port, recipe.port)
    environments = [
        common.environment(recipe, placement, rank, {"VLLM_HOST_IP": placement.address(rank)})
        for rank in range(recipe.nodes)
    ]
    own = _own_variables(environments)
    containers = tuple(
        common.container(
            recipe,
            placement,
            rank,
            run,
            program="vllm",
            command=_ray_command(recipe, placement, rank),
            env=environments[rank],
            mounts=(
                Mount(recipe.model_cache, common.HF_HOME),
                *common.mounted(files),
                *(common.mounted(own) if rank == 0 else ()),
            ),
            ports=ports if rank == 0 else (),
            volume=volume,
        )
        for rank in range(recipe.nodes)
    )
    return common.deployment(
        recipe,
        placement,
        containers,
        (*files.values(), *own.values()),
        volume=volume,
        serve=ServeSpec(placement.head.name, containers[0].name, vllm.serve_command(recipe)),
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
    common = (f"--node-ip-address={placement.address(rank)}", "--num-gpus=1", "--block")
    if rank == 0:
        return (
            "ray",
            "start",
            "--head",
            f"--port={recipe.ray.port}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={recipe.ray.dashboard_port}",
            "--disable-usage-stats",
            *common,
        )
    return ("ray", "start", f"--address={placement.address(0)}:{recipe.ray.port}", *common)
