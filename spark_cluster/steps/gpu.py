"""nvidia-smi sees the GPU."""

from __future__ import annotations

from spark_cluster.core.step import Assessment, found
from spark_cluster.facts.gpu import GPU
from spark_cluster.steps.base import NoParams, problem, step
from spark_cluster.steps.view import View


@step("gpu", "Check that the GPU is visible", NoParams, reads=(GPU,))
def gpu(view: View, _: NoParams) -> Assessment:
    gpu = view.facts[GPU]
    if not gpu.names:
        return found(problem("GPU001", f"nvidia-smi says: {gpu.error or 'nothing'}"))
    return found(notes=(f"{', '.join(gpu.names)}, driver {gpu.driver}",))
