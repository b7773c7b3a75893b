"""The real llama-benchy in a virtual environment of its own, made once."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from spark_cluster import places

VERSION = "0.4.0"


def folder() -> Path:
    """Where its program is. Skips the test if it cannot be had."""
    place = places.cache_dir() / "llama-benchy" / f"{VERSION}-py{sys.version_info.minor}"
    if not (place / "complete").exists():
        venv.create(place, with_pip=True, clear=True)
        pip = [str(place / "bin/python"), "-m", "pip", "install", "--quiet"]
        done = subprocess.run(
            [*pip, f"llama-benchy=={VERSION}"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"llama-benchy {VERSION} cannot be had: {done.stderr.strip()[-200:]}")
        (place / "complete").touch()
    return place / "bin"
