"""Start a rank process in this container, and the environment it gets."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from .release import engine_process, later
from .wire import Json

# What the Ray executor copies from the driver over the workers' own environment, and what
# it never copies (WORKER_SPECIFIC_ENV_VARS).
COPIED = ("VLLM_", "NCCL_", "UCX_", "HF_")
NOT_COPIED = ("VLLM_HOST_IP", "VLLM_HOST_PORT", "LOCAL_RANK", "CUDA_VISIBLE_DEVICES")


def copied_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The driver's variables that every rank gets, but for those that the user's file excludes."""
    excluded = (*NOT_COPIED, *_excluded(env))
    return {
        name: value
        for name, value in env.items()
        if name.startswith(COPIED) and name not in excluded
    }


def _excluded(env: Mapping[str, str]) -> list[str]:
    home = env.get("VLLM_CONFIG_ROOT") or f"{env.get('HOME', '/root')}/.config/vllm"
    try:
        with open(f"{home}/ray_non_carry_over_env_vars.json") as file:  # noqa: PTH123
            return [str(name) for name in json.load(file)]
    except (OSError, ValueError):
        return []


def title(spec: Json) -> str:
    """The name of the rank's process.

    Ray's ranks before 0.23 have one that the lab's faults know; what vLLM 0.11 calls them was not
    recorded.
    """
    if spec["executor"] == "ray":
        return later("ray::RayWorkerProc.run", "VLLM::Worker_TP")
    if spec["executor"] == "uni":
        return f"VLLM::{engine_process()}"
    return f"VLLM::{place(spec)}"


def place(spec: Json) -> str:
    """`Worker_TP1`: what a rank's lines begin with, once it knows."""
    rank, tp = int(spec["rank"]), int(spec["tp"])
    return f"Worker_TP{rank % tp}" if tp > 1 else f"Worker_PP{rank}"


def spawn_rank(env: Json, spec: Json) -> int:
    """The container's own environment, with the driver's variables over it. The pid."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    parent, package = os.path.split(here)
    # By name and not by `import`: the folder may be called what Python's syntax forbids.
    code = (
        f"import sys; sys.path.append({parent!r}); "
        f"sys.exit(__import__({package + '.rank'!r}, fromlist=['main']).main())"
    )
    full = {**os.environ, **env, "SPARK_LAB_RANK": json.dumps(spec)}
    argv = [sys.executable, "-c", code]
    return os.posix_spawn(sys.executable, argv, full)
