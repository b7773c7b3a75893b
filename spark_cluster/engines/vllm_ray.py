"""vLLM over Ray: a Ray head and workers as containers, `vllm serve` inside the head's.

Source of the flags: the project's seed set-up of January 2026, vLLM 0.11 in
nvcr.io/nvidia/vllm:25.11-py3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath

from spark_cluster.engines import nccl
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import (
    LABEL,
    ContainerSpec,
    Deployment,
    HostFile,
    Mount,
    ServeSpec,
)
from spark_cluster.rdma.volume import expected_bytes_per_token
from spark_cluster.recipes.models import Recipe

_FILES = "/var/lib/spark-cluster/files"


def deploy(
    recipe: Recipe, placement: Placement, run: str, contents: Mapping[str, str]
) -> Deployment:
    """The deployment. `contents` maps each `files[].source` of the recipe to its text."""
    files = {
        entry.target: HostFile(_file_path(entry.source, contents[entry.source]), text)
        for entry in recipe.files
        for text in [contents[entry.source]]
    }
    containers = tuple(
        _container(recipe, placement, rank, run, files) for rank in range(len(placement.hosts))
    )
    names = tuple(host.name for host in placement.hosts)
    ports = {names[0]: _ports(recipe)}
    return Deployment(
        recipe=recipe.name,
        model=recipe.model,
        image=recipe.image,
        engine=recipe.engine,
        head=names[0],
        hosts=names,
        containers=containers,
        serve=ServeSpec(names[0], containers[0].name, _serve_command(recipe)),
        port=recipe.port,
        ports=ports,
        files=tuple(files.values()),
        addresses={name: placement.address(rank) for rank, name in enumerate(names)},
        devices={
            name: tuple(rail.device for rail in placement.rails[rank])
            for rank, name in enumerate(names)
        },
        model_cache=recipe.model_cache,
        memory_gib=recipe.requires.memory_gib,
        disk_gib=recipe.requires.disk_gib,
        ready_seconds=recipe.ready_minutes * 60,
        bytes_per_token=_bytes_per_token(recipe),
        ray_dashboard_port=recipe.ray.dashboard_port,
    )


def _bytes_per_token(recipe: Recipe) -> float | None:
    if recipe.shape is None:
        return None
    return expected_bytes_per_token(
        recipe.shape.layers,
        recipe.shape.hidden_size,
        recipe.shape.bytes_per_element,
        recipe.nodes,
    )


def _ports(recipe: Recipe) -> tuple[int, ...]:
    """What listens on the head."""
    return (recipe.ray.port, recipe.ray.dashboard_port, recipe.port)


def _file_path(source: str, content: str) -> str:
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return f"{_FILES}/{digest}/{PurePosixPath(source).name}"


def _container(
    recipe: Recipe, placement: Placement, rank: int, run: str, files: Mapping[str, HostFile]
) -> ContainerSpec:
    role = "head" if rank == 0 else "worker"
    suffix = "" if rank <= 1 else f"-{rank}"
    bytes_per_token = _bytes_per_token(recipe)
    return ContainerSpec(
        host=placement.hosts[rank].name,
        rank=rank,
        role=role,
        name=f"vllm-{role}{suffix}",
        image=recipe.image,
        command=_ray_command(recipe, placement, rank),
        env=_environment(recipe, placement, rank),
        labels={
            f"{LABEL}.recipe": recipe.name,
            f"{LABEL}.run": run,
            f"{LABEL}.rank": str(rank),
            f"{LABEL}.role": role,
            f"{LABEL}.group": ",".join(host.name for host in placement.hosts),
            f"{LABEL}.model": recipe.model,
            f"{LABEL}.port": str(recipe.port),
            f"{LABEL}.ports": ",".join(map(str, _ports(recipe) if rank == 0 else ())),
            f"{LABEL}.devices": ",".join(rail.device for rail in placement.rails[rank]),
            f"{LABEL}.bytes-per-token": f"{bytes_per_token:.0f}" if bytes_per_token else "",
        },
        mounts=(
            Mount(recipe.model_cache, "/root/.cache/huggingface"),
            *(Mount(file.path, target, read_only=True) for target, file in files.items()),
        ),
        devices=nccl.RDMA_DEVICES,
        capabilities=nccl.RDMA_CAPABILITIES,
        ulimits=nccl.RDMA_ULIMITS,
        shm_size=recipe.shm_size,
    )


def _environment(recipe: Recipe, placement: Placement, rank: int) -> dict[str, str]:
    """NCCL's variables, the rank's address, and over them what the recipe says."""
    own = {**nccl.environment(placement, rank), "VLLM_HOST_IP": placement.address(rank)}
    kept = {key: value for key, value in own.items() if key not in recipe.env}
    chosen = {k: choice.text for k, choice in recipe.env.items() if choice.value is not None}
    return {**kept, **chosen}


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


def _serve_command(recipe: Recipe) -> tuple[str, ...]:
    words = ["vllm", "serve", recipe.model]
    for flag, choice in recipe.args.items():
        if choice.value in (False, None):
            continue
        words.append(f"--{flag}")
        if choice.value is not True:
            words.append(str(choice.value))
    return (*words, "--host", "0.0.0.0", "--port", str(recipe.port))
