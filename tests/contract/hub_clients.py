"""huggingface_hub on both sides of its shared store, and how a test downloads with it."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from spark_cluster import places

#: The last release before the store that all models share.
OLD = "1.31.0"

#: What Xet's storage speaks is a protocol of its own, in a compiled library: only the bytes come
#: another way, all that becomes of them is the client's.
_DRIVER = """\
import os, sys, urllib.request
import huggingface_hub.file_download as client
from huggingface_hub import snapshot_download

def from_the_hub(*, incomplete_path, xet_file_data, **_):
    url = f"{os.environ['HF_ENDPOINT']}/xet/{xet_file_data.file_hash}"
    with urllib.request.urlopen(url) as answer:
        incomplete_path.write_bytes(answer.read())

client.xet_get = from_the_hub
snapshot_download(sys.argv[1], cache_dir=sys.argv[2])
"""


def new_client() -> str:
    """The Python whose huggingface_hub has the shared store."""
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="it is not installed")
    version = tuple(int(part) for part in huggingface_hub.__version__.split(".")[:2])
    if version < (1, 32):
        pytest.skip(f"huggingface_hub {huggingface_hub.__version__} has no shared store")
    return sys.executable


def old_client() -> str:
    """A Python with the last huggingface_hub before it, made once."""
    folder = places.cache_dir() / "hub-clients" / f"{OLD}-py{sys.version_info.minor}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", f"huggingface_hub=={OLD}"]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"huggingface_hub {OLD} cannot be had: {done.stderr.strip()[-200:]}")
        (folder / "complete").touch()
    return str(python)


def download(python: str, url: str, model: str, hub: Path, **environment: str) -> None:
    """Have the real client download a model into a hub folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = {
        **kept, "HF_ENDPOINT": url, "HF_HUB_DISABLE_TELEMETRY": "1", "HOME": str(hub.parent),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1", **environment,
    }  # fmt: skip
    command = [python, "-c", _DRIVER, model, str(hub)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
