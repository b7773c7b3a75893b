"""Which programs are put to the test: printed, and kept in versions.txt."""

from __future__ import annotations

import os
import subprocess
import sys

from spark_cluster import __version__

from . import image, settings
from .pair import Pair

_ASK = """\
import importlib.metadata, sys
print("python", sys.version.split()[0])
for name in ("vllm", "ray", "transformers"):
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        print(name, "tells no version")
import torch
nccl = ".".join(map(str, torch.cuda.nccl.version()))
print("torch", torch.__version__, "cuda", torch.version.cuda, "nccl", nccl)
"""

_GPU = (
    "nvidia-smi --query-gpu=name,driver_version,memory.total,power.draw --format=csv,noheader; "
    "uname -r; nproc; grep MemTotal /proc/meminfo"
)


def tell(pair: Pair) -> None:
    programs = pair.folder / "pair" / "image"
    engine = f"the lab's stand-in as vLLM {image.VLLM}\n"
    if not settings.is_standin():
        env = {**os.environ, **image.environment(programs)}
        engine = subprocess.run(
            [sys.executable, "-c", _ASK], env=env, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ).stdout  # fmt: skip
    seen = "".join(f"{name} sees: {host.run(_GPU)}" for name, host in pair.hosts.items())
    text = f"[{settings.worker()}] spark-cluster {__version__}\n{engine}{seen}"
    print(text)
    with (settings.results() / "versions.txt").open("a") as file:
        file.write(text)
