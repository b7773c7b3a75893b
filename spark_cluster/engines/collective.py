"""The containers of an all-reduce: those of a launch, with a script in place of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spark_cluster.core.labels import LABEL
from spark_cluster.engines.common import shipped
from spark_cluster.engines.spec import ContainerSpec, Deployment

NAME = "spark-cluster-collective"
SCRIPT = "allreduce.py"

#: Of NCCL's own variables, those that hide what it says.
_SILENT = ("NCCL_DEBUG_FILE", "NCCL_DEBUG_SUBSYS", "NCCL_DEBUG")

#: Labels that the container keeps: none by which a server is known.
_KEPT = ("recipe", "run", "rank", "group", "devices")


def specs(
    deployment: Deployment,
    *,
    port: int,
    sizes: Sequence[int],
    seconds: float,
    limit: int,
    backend: str = "nccl",
) -> tuple[ContainerSpec, ...]:
    """A container a rank: image, environment, devices and limits of the launch's own.

    `port`: where the ranks meet on the head. `seconds` of each size, `limit` of everything.
    """
    own = {
        "WORLD_SIZE": str(len(deployment.hosts)),
        "MASTER_ADDR": deployment.addresses[deployment.head],
        "MASTER_PORT": str(port),
        "NCCL_DEBUG": "INFO",
        "NCCL_DEBUG_SUBSYS": "INIT,NET,ENV",
        "SPARK_CLUSTER_BACKEND": backend,
        "SPARK_CLUSTER_SIZES": ",".join(map(str, sizes)),
        "SPARK_CLUSTER_SECONDS": f"{seconds:g}",
        "SPARK_CLUSTER_LIMIT": str(limit),
    }
    return tuple(_spec(spec, {**own, "RANK": str(spec.rank)}) for spec in deployment.containers)


def _spec(spec: ContainerSpec, own: dict[str, str]) -> ContainerSpec:
    """An image whose own entrypoint was replaced has it replaced here, too; the others' may set
    CUDA up."""
    script = ("-u", "-c", shipped(SCRIPT))
    kept = {name: value for name, value in spec.env.items() if name not in _SILENT}
    labels = {f"{LABEL}.{name}": spec.labels[f"{LABEL}.{name}"] for name in _KEPT}
    return replace(
        spec,
        name=NAME,
        role="worker",
        command=script if spec.entrypoint else ("python3", *script),
        entrypoint="python3" if spec.entrypoint else "",
        env={**kept, **own},
        labels={**labels, f"{LABEL}.role": "worker"},
        mounts=(),
        secrets=(),
    )
