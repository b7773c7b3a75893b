"""What came of each phase, written as it happens: a table for people, everything else in a tar.gz.

story.txt     a row for each phase: what was expected, what the program said, seconds, verdict
versions.txt  vLLM, torch, NCCL, Ray, the driver, the GPUs
gwN.tar.gz    of each worker: what the program printed, the ranks' logs, nvidia-smi, /metrics
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path

from . import settings

_WIDTH = 96

#: Of one file in the archive; the end of a log tells most.
_LIMIT = 1_000_000


class Record:
    """Of one worker. `phase` names the folder for what is kept now; `grab` collects what there is
    of the hosts, once they are up."""

    def __init__(self) -> None:
        self.out = settings.results()
        self.out.mkdir(parents=True, exist_ok=True)
        self.folder = settings.work() / "kept"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.phase = "start"
        self.grab: Callable[[], None] = lambda: None
        self._count = 0
        self._said: list[str] = []

    def begin(self, phase: str) -> None:
        self.phase = phase
        self._said = []

    def said(self, text: str) -> None:
        """The program's own words, for the phase's row."""
        self._said.append(text)

    def keep(self, name: str, text: str) -> None:
        """A file of this phase, numbered in the order of their making."""
        self._count += 1
        path = self.folder / self.phase / f"{self._count:03d}-{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text[-_LIMIT:])

    def place(self, name: str) -> Path:
        """Where a file of this phase shall lie that somebody else writes."""
        path = self.folder / self.phase / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def end(self, expected: str, verdict: str, seconds: float) -> None:
        """The row of the phase; all that was kept so far is packed anew."""
        lines = [f"[{settings.worker()}] {self.phase}: {verdict}, {seconds:.0f} s"]
        told = [("expected", expected), *(("said", text) for text in self._said)]
        for title, text in told:
            lines += textwrap.wrap(
                f"{title}: {' '.join(text.split())}", _WIDTH, initial_indent="    ",
                subsequent_indent="      ", break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
        with (self.out / "story.txt").open("a") as story:
            story.write("\n".join(lines) + "\n")
        self._pack()

    def _pack(self) -> None:
        if not self.folder.exists():
            return
        new = self.folder.with_suffix(".tar.gz")
        with tarfile.open(new, "w:gz") as archive:
            archive.add(self.folder, settings.worker())
        target = self.out / f"{settings.worker()}.tar.gz"
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(new, target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)
