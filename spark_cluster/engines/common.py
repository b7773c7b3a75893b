"""What the engines share: a container of a rank, a deployment of its containers, command lines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from spark_cluster.core.data_files import read_text
from spark_cluster.core.labels import LABEL
from spark_cluster.engines import nccl
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import (
    IMAGE_ID,
    ContainerSpec,
    Deployment,
    HostFile,
    ModelFiles,
    Mount,
    ServeSpec,
)
from spark_cluster.rdma.volume import expected_bytes_per_token, need_per_token
from spark_cluster.recipes.demand import of_recipe
from spark_cluster.recipes.lint_versions import is_openai
from spark_cluster.recipes.models import Recipe
from spark_cluster.recipes.naming import model_folder
from spark_cluster.recipes.secret_names import HUB_TOKENS
from spark_cluster.serving.api import API_KEY

#: Where every image of an engine that reads Hugging Face's cache looks for it.
HF_HOME = "/root/.cache/huggingface"

_FILES = "/var/lib/spark-cluster/files"

#: Where a host keeps what its engines compiled: recipe/rank/image. Two ranks that share such a
#: folder break each other's files, and what another image compiled is of no use.
COMPILED = "/var/lib/spark-cluster/compiled"


def host_file(name: str, content: str) -> HostFile:
    """A file of ours on the host: a path that names its content."""
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return HostFile(f"{_FILES}/{digest}/{name}", content)


def shipped(name: str, **values: str) -> str:
    """A text of ours for a container, from the folder files here, with each `@NAME@` filled in."""
    text = read_text("spark_cluster.engines", "files", name)
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def recipe_files(recipe: Recipe, contents: Mapping[str, str]) -> dict[str, HostFile]:
    """The recipe's files by their place in the container; `contents` by their source."""
    return {
        entry.target: host_file(PurePosixPath(entry.source).name, contents[entry.source])
        for entry in recipe.files
    }


def mounted(files: Mapping[str, HostFile]) -> tuple[Mount, ...]:
    return tuple(Mount(file.path, target, read_only=True) for target, file in files.items())


def flags(recipe: Recipe) -> tuple[str, ...]:
    """The recipe's arguments as words; false and null ones are left out."""
    words: list[str] = []
    for flag, choice in recipe.args.items():
        if choice.value in (False, None):
            continue
        words.append(f"--{flag}")
        if choice.value is not True:
            words += choice.words
    return tuple(words)


def served_name(recipe: Recipe, flag: str = "served-model-name") -> tuple[str, ...]:
    """The flag for the name that clients use, unless one of the recipe's arguments is that already.

    It is always given: with HF_HUB_OFFLINE vLLM (0.23) calls the model by its snapshot's path
    otherwise, in its answers and in its metrics.
    """
    return () if recipe.served_argument else (f"--{flag}", recipe.client_model)


def environment(
    recipe: Recipe, placement: Placement, rank: int, own: Mapping[str, str]
) -> dict[str, str]:
    """NCCL's variables if there is more than one rank, the engine's own, over them what the recipe
    says, and over that what it says of this rank."""
    fabric = nccl.environment(placement, rank) if placement.rails[rank] else {}
    ours = {**fabric, **own}
    told = {**recipe.env, **recipe.rank_env.get(rank, {})}
    kept = {key: value for key, value in ours.items() if key not in told}
    chosen = {k: choice.text for k, choice in told.items() if choice.value is not None}
    return {**kept, **chosen}


def bytes_per_token(recipe: Recipe) -> float | None:
    """What a token moves between ranks; None if that is not known, as in a pipeline.

    Raises demand.BadArgument.
    """
    ranks = of_recipe(recipe).tensor
    if recipe.shape is None or ranks < 2:
        return None
    shape = recipe.shape
    return expected_bytes_per_token(shape.layers, shape.hidden_size, shape.bytes_per_element, ranks)


def _need(recipe: Recipe, rank: int, hosts: int, volume: float | None) -> str:
    """What a token makes this rank send and receive, for its label; in a pipeline ranks differ."""
    stages = of_recipe(recipe).pipeline
    if stages < 2 or recipe.shape is None:
        return f"{volume:.0f}" if volume else ""
    return need_per_token(
        recipe.shape.layers,
        recipe.shape.hidden_size,
        recipe.shape.bytes_per_element,
        tensor_parallel=max(1, hosts // stages),
        pipeline_parallel=stages,
        rank=rank,
    ).label


@dataclass(frozen=True)
class Rank:
    """What the engine says of a rank's container. `program` begins its name, `env` are variables of
    the engine's own, `ports` listen there, `files` by their place in the container come beside the
    recipe's, and the recipe's model_cache is at `cache`."""

    program: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    ports: tuple[int, ...] = ()
    files: Mapping[str, HostFile] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    cache: str = HF_HOME
    entrypoint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def deploy(
    recipe: Recipe,
    placement: Placement,
    run: str,
    contents: Mapping[str, str],
    ranks: Sequence[Rank],
    *,
    serve: tuple[str, ...] = (),
    serve_name: str = "",
    **more: Any,
) -> Deployment:
    """The ranks' containers on their hosts. `serve` is started inside the head's, where
    `serve_name` tells it from others; `more` are the fields of Deployment that only this engine
    sets."""
    files = recipe_files(recipe, contents)
    own = {file.path: file for rank in ranks for file in rank.files.values()}
    volume = bytes_per_token(recipe)
    names = tuple(host.name for host in placement.hosts)
    containers = tuple(
        _container(recipe, placement, number, run, rank, mounted(files), volume)
        for number, rank in enumerate(ranks)
    )
    fields: dict[str, Any] = {
        "health": _openai_health(recipe.port),
        "model_folder": "" if recipe.model_path else model_folder(recipe.model_cache, recipe.model),
        **more,
    }
    return Deployment(
        recipe=recipe.name,
        asked=recipe.asked,
        model=recipe.model,
        revision=recipe.revision,
        client_model=recipe.client_model,
        image=recipe.image,
        engine=recipe.engine,
        head=names[0],
        hosts=names,
        containers=containers,
        serve=ServeSpec(names[0], containers[0].name, serve, serve_name) if serve else None,
        port=recipe.port,
        ports={name: rank.ports for name, rank in zip(names, ranks, strict=True)},
        files=(*files.values(), *own.values()),
        addresses={name: placement.address(rank) for rank, name in enumerate(names)},
        devices={name: _devices(placement, rank) for rank, name in enumerate(names)},
        model_cache=recipe.model_cache,
        downloads=recipe.downloads,
        download_gib=recipe.requires.download_gib,
        memory_gib=recipe.requires.memory_gib,
        disk_gib=recipe.requires.disk_gib,
        ready_seconds=recipe.ready_minutes * 60,
        first_token_seconds=recipe.first_token_minutes * 60,
        bytes_per_token=volume,
        secrets_file=recipe.secrets_file,
        drafts=tuple(
            ModelFiles(each.model, model_folder(recipe.model_cache, each.model), each.revision)
            for each in recipe.drafts
        ),
        image_digest=recipe.image_digest,
        swap=recipe.swap,
        **fields,
    )


def _container(
    recipe: Recipe,
    placement: Placement,
    number: int,
    run: str,
    rank: Rank,
    files: tuple[Mount, ...],
    volume: float | None,
) -> ContainerSpec:
    """`files` are the recipe's, `volume` is in bytes per token. Devices and capabilities for RDMA
    only where there is more than one rank."""
    alone = len(placement.hosts) == 1
    role = "head" if number == 0 else "worker"
    secrets = _secrets(recipe)
    env = environment(recipe, placement, number, rank.env)
    command, entrypoint = rank.command, rank.entrypoint
    # The entrypoint of vllm/vllm-openai is `vllm serve`.
    if not entrypoint and (recipe.clear_entrypoint or is_openai(recipe.image)):
        entrypoint, command = command[0], command[1:]
    has_key = recipe.engine.startswith("vllm") and API_KEY in (*secrets, *env)
    return ContainerSpec(
        host=placement.hosts[number].name,
        rank=number,
        role=role,
        name=_name(recipe, rank.program, number, alone=alone),
        image=recipe.image,
        command=command,
        env=env,
        labels={
            f"{LABEL}.recipe": recipe.name,
            f"{LABEL}.run": run,
            f"{LABEL}.rank": str(number),
            f"{LABEL}.role": role,
            f"{LABEL}.group": ",".join(host.name for host in placement.hosts),
            f"{LABEL}.model": recipe.client_model,
            f"{LABEL}.hub-model": recipe.model,
            f"{LABEL}.port": str(recipe.port),
            f"{LABEL}.ports": ",".join(map(str, rank.ports)),
            f"{LABEL}.devices": ",".join(_devices(placement, number)),
            f"{LABEL}.bytes-per-token": _need(recipe, number, len(placement.hosts), volume),
            **({f"{LABEL}.key": API_KEY} if has_key else {}),
            **rank.labels,
        },
        mounts=(
            Mount(recipe.model_cache, rank.cache),
            *files,
            *mounted(rank.files),
            *rank.mounts,
            *(Mount(each.source, each.target, each.read_only) for each in recipe.mounts),
            *_compiled(recipe, number),
        ),
        devices=() if alone else nccl.RDMA_DEVICES,
        capabilities=() if alone else nccl.RDMA_CAPABILITIES,
        ulimits={**nccl.ULIMITS, **({"nofile": str(recipe.nofile)} if recipe.nofile else {})},
        shm_size=recipe.shm_size,
        entrypoint=entrypoint,
        secrets=secrets,
        security=recipe.security,
    )


def _compiled(recipe: Recipe, rank: int) -> Iterator[Mount]:
    for folder in recipe.compile_caches:
        name = folder.strip("/").replace("/", "_")
        yield Mount(f"{COMPILED}/{recipe.name}/rank-{rank}/{IMAGE_ID}/{name}", folder)


def _devices(placement: Placement, rank: int) -> tuple[str, ...]:
    return tuple(rail.device for rail in placement.rails[rank])


def _secrets(recipe: Recipe) -> tuple[str, ...]:
    """Those of the recipe's secrets that the container gets: a token of the hub is of no use to an
    engine that may not fetch anything."""
    return tuple(name for name in recipe.secrets if recipe.downloads or name not in HUB_TOKENS)


def _name(recipe: Recipe, program: str, rank: int, *, alone: bool) -> str:
    """`vllm-head`, `vllm-worker`, `vllm-worker-2`; a server that is alone has its recipe's name."""
    if alone:
        return recipe.name if recipe.name.startswith(program) else f"{program}-{recipe.name}"
    role = "head" if rank == 0 else "worker"
    return f"{program}-{role}" + ("" if rank <= 1 else f"-{rank}")


def _openai_health(port: int) -> tuple[str, ...]:
    """In Python, which every such image has; curl is not in all of them."""
    url = f"http://127.0.0.1:{port}/health"
    return ("python3", "-c", f"import urllib.request as r; r.urlopen('{url}', timeout=5)")
