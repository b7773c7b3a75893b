"""Docker Compose on this machine: it needs no daemon to check a file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Compose:
    """`words` begin its command line."""

    words: tuple[str, ...]
    version: tuple[int, ...]

    def run(
        self, *words: str, folder: Path | None = None, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """`extra` are variables of the environment; there is no docker to talk to."""
        return _run([*self.words, *words], folder, extra)


#: Ubuntu's package is docker's plugin alone, and may come without docker.
_WAYS = (
    ("docker", "compose"),
    ("/usr/libexec/docker/cli-plugins/docker-compose",),
    ("docker-compose",),
)


@cache
def find() -> Compose | None:
    """None if there is no Compose of any version."""
    for words in _WAYS:
        if shutil.which(words[0]) is None:
            continue
        done = _run([*words, "version", "--short"])
        match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", done.stdout)
        if done.returncode == 0 and match:
            return Compose(words, tuple(int(part) for part in match.groups()))
    return None


def needed(*least: int) -> Compose:
    """The Compose to test with; skips if there is none of this version or newer."""
    found = find()
    if found is None:
        pytest.skip("no docker compose on this machine (apt install docker-compose)")
    if found.version < least:
        wanted, here = (".".join(map(str, version)) for version in (least, found.version))
        pytest.skip(
            f"needs Compose {wanted}, here is {here}: Debian has it from 13 on, Ubuntu as "
            "docker-compose-v2"
        )
    return found


def _run(
    words: Sequence[str], folder: Path | None = None, extra: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DOCKER_HOST": "unix:///nonexistent", **(extra or {})}
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
