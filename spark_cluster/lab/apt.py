"""Packages of a suite that this machine itself need not have, fetched and verified by apt.

apt is given a folder of its own for its lists, so that nothing of the machine's own changes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from spark_cluster.core.error import LabError
from spark_cluster.lab.sources import Mirror

_POCKETS = ("", "-updates", "-backports")


def source_lines(mirror: Mirror) -> str:
    """The suite with its updates and backports; a pocket that the mirror lacks does no harm."""
    signed = f" [signed-by={mirror.keyring}]" if mirror.keyring else ""
    parts = " ".join(mirror.components)
    return "".join(f"deb{signed} {mirror.uri} {mirror.suite}{p} {parts}\n" for p in _POCKETS)


class Apt:
    def __init__(self, mirror: Mirror, folder: Path) -> None:
        """`folder` is absolute and new; it may go when the packages are fetched."""
        self._folder = folder
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(source_lines(mirror))
        settings = {
            "Dir::State": folder,
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder,
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "",
        }
        self._options = [f"-o{name}={value}" for name, value in settings.items()]

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *self._options, *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
        )

    def update(self) -> None:
        """Fetch the lists. What could not be had shows when a package is looked for."""
        self._run("apt-get", "update")

    def names(self, pattern: str) -> Sequence[str]:
        """The packages whose name matches a regular expression."""
        done = self._run("apt-cache", "search", "--names-only", pattern)
        return [line.split()[0] for line in done.stdout.splitlines() if line.strip()]

    def download(self, package: str) -> Path:
        """Fetch a package; its file."""
        done = self._run("apt-get", "download", package)
        found = sorted(self._folder.glob(f"{package}_*.deb"))
        if done.returncode or not found:
            raise LabError(
                f"{package} could not be fetched",
                stderr=done.stderr.strip()[-800:],
                remedy="check the mirror (--mirror, --suite), then try again",
            )
        return found[-1]
