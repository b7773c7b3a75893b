"""What stands in for the container's image: its variables and its programs `vllm` and `ray`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from spark_cluster.lab.image import ENGINE

from . import settings

#: Of this machine's CUDA.
_KEPT = (
    "LD_LIBRARY_PATH", "LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CPATH", "CC",
    "CXX",
)  # fmt: skip

#: NVLink multicast is off everywhere: a machine of a few GPUs out of a larger one may lack it.
_FIXED = {
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "NCCL_NVLS_ENABLE": "0",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "NVSHMEM_DISABLE_NVLS": "1",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_NO_USAGE_STATS": "1",
}

#: The release that the recipes' arguments are for.
VLLM = "0.23.0"

_ENTRY_POINTS = {
    "vllm": ("vllm.entrypoints.cli.main", "main"),
    "ray": ("ray.scripts.scripts", "main"),
}

_START = """\
#!{python}
import sys
from {module} import {function}
if __name__ == "__main__":
    sys.exit({function}())
"""


def environment(programs: Path) -> dict[str, str]:
    """The image's variables; `programs` is the folder that `write_programs` filled."""
    if settings.is_standin():
        path = f"{ENGINE / 'bin'}:{os.environ['PATH']}"
        return {
            "PATH": path, "HOME": "/root", "LANG": "C.UTF-8", "SPARK_LAB_VLLM_VERSION": VLLM,
            "SPARK_LAB_LOAD_SECONDS": "1", "SPARK_LAB_MODEL_MIB": "16",
        }  # fmt: skip
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    found = {**kept, **_FIXED, "PATH": f"{programs}:{os.environ['PATH']}"}
    if settings.site():
        found["PYTHONPATH"] = settings.site()
    return found


def write_programs(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (module, function) in _ENTRY_POINTS.items():
        path = folder / name
        path.write_text(_START.format(python=sys.executable, module=module, function=function))
        path.chmod(0o755)
