"""What the environment says about the test with GPUs, and why it cannot run here.

SPARK_CLUSTER_GPU_ENGINE    `vllm` (default): the real one; `standin`: the lab's, needs no GPU
SPARK_CLUSTER_GPU_SITE      a folder of Python packages with vllm and ray; empty: this Python's
SPARK_CLUSTER_GPU_WORK      where hosts, containers and the model lie; not below /tmp
SPARK_CLUSTER_GPU_RESULTS   what was said and logged goes there; default: `results` below WORK
SPARK_CLUSTER_GPU_SECONDS   tests that have not begun by then are skipped, commands cut short
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from functools import cache
from pathlib import Path

from spark_cluster import places
from tests.contract import namespaces

REPOSITORY = Path(__file__).resolve().parents[2]


def _given(name: str, default: str = "") -> str:
    return os.environ.get(f"SPARK_CLUSTER_GPU_{name}") or default


def is_standin() -> bool:
    return _given("ENGINE", "vllm") == "standin"


def site() -> str:
    return _given("SITE")


def work() -> Path:
    """Of this worker of pytest-xdist, so that two have nothing in common but the GPUs."""
    folder = Path(_given("WORK", str(places.cache_dir() / "gpu"))).resolve()
    return folder / worker()


def results() -> Path:
    return Path(_given("RESULTS", str(work().parent / "results"))).resolve()


def worker() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "gw0")


def worker_number() -> int:
    digits = "".join(filter(str.isdigit, worker()))
    return int(digits or 0)


def workers() -> int:
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


def gpus() -> list[int]:
    """The numbers of this machine's device files, each a GPU."""
    names = (path.name[len("nvidia") :] for path in Path("/dev").glob("nvidia[0-9]*"))
    return sorted(int(name) for name in names if name.isdigit())


def gpu_of(rank: int) -> int | None:
    """The GPU of a rank's host: of its own if there are enough, else its pair's. Pairs are kept
    apart first: a start fails when somebody frees memory of its GPU while vLLM measures it."""
    found = gpus()
    if not found:
        return None
    number = worker_number() if workers() >= len(found) else 2 * worker_number() + rank
    return found[number % len(found)]


def is_crowded() -> bool:
    """Whether pairs of several workers share a GPU."""
    return workers() > len(gpus())


def share() -> float:
    """Of its GPU's memory, for a rank: all ranks that may share it, and a fifth left over."""
    sharing = max(1.0, 2 * workers() / max(1, len(gpus())))
    return round(0.8 / sharing, 2)


def until() -> float:
    """When the time is over, on the clock of time.time(); the first process to ask sets it."""
    seconds = _given("SECONDS")
    if not seconds:
        return float("inf")
    begun = os.environ.setdefault("SPARK_CLUSTER_GPU_BEGUN", str(time.time()))
    return float(begun) + float(seconds)


@cache
def why_not() -> str:
    """Why this machine cannot run it; empty if it can."""
    problem = namespaces.why_not()
    if problem:
        return problem
    hidden = [path for path in (REPOSITORY, work(), Path(sys.prefix), Path(site() or "/")) if
              path.is_relative_to("/tmp")]  # fmt: skip
    if hidden:
        return f"{hidden[0]} lies below /tmp, of which each container has its own"
    if is_standin():
        return ""
    if not gpus():
        return "no CUDA device on this machine (/dev/nvidia0)"
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi on this machine"
    folder = site()
    missing = [
        name
        for name in ("vllm", "ray")
        if not (Path(folder, name).is_dir() if folder else importlib.util.find_spec(name))
    ]
    if missing:
        where = f"in {folder}" if folder else "for this Python"
        return f"no {' and no '.join(missing)} {where} (SPARK_CLUSTER_GPU_SITE)"
    return ""
