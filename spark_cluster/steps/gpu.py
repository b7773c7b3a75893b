"""nvidia-smi sees the GPU."""

from __future__ import annotations

from spark_cluster.core.step import Assessment, Step, found
from spark_cluster.facts.gpu import GPU
from spark_cluster.steps.base import NoParams, problem
from spark_cluster.steps.view import View


def assess(view: View, _: NoParams) -> Assessment:
    gpu = view.facts[GPU]
    if not gpu.names:
        return found(problem("GPU001", f"nvidia-smi says: {gpu.error or 'nothing'}"))
    return found(notes=(f"{', '.join(gpu.names)}, driver {gpu.driver}",))


STEP = Step(
    name="gpu",
    title="Check that the GPU is visible",
    params=NoParams,
    reads=(GPU.name,),
    assess=assess,
)
