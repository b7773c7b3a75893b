"""Every engine by the name that recipes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spark_cluster.engines import ollama, sglang, trtllm, vllm, vllm_ray
from spark_cluster.engines.placement import Placement
from spark_cluster.engines.spec import Deployment
from spark_cluster.recipes.models import Recipe

Engine = Callable[[Recipe, Placement, str, Mapping[str, str]], Deployment]

ENGINES: dict[str, Engine] = {
    "vllm-ray": vllm_ray.deploy,
    "vllm-mp": vllm.deploy,
    "vllm": vllm.deploy,
    "sglang": sglang.deploy,
    "trtllm": trtllm.deploy,
    "ollama": ollama.deploy,
}
