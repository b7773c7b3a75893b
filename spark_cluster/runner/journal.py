"""What a run did, written down as it happens: one JSON object a line, readable at 3 a.m."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from spark_cluster import places
from spark_cluster.core.event import Event, Listener, Note, Progress, as_json


def new_run() -> str:
    """A run's name: time and four random hex digits, such as 20261121-031500-9f3a."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def folder() -> Path:
    return places.state_dir() / "journal"


class Journal:
    """A listener that appends every event to the run's file; the folder is the user's alone.

    A journal that cannot be written never stops a run: `problem` says why it is missing or where
    it ends, and `tell` hears it once.
    """

    def __init__(self, run: str, verb: str, tell: Listener | None = None) -> None:
        self.path = folder() / f"{run}-{verb.replace(' ', '-')}.jsonl"
        self.problem: str | None = None
        self._tell = tell
        self._file: IO[str] | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "a", encoding="utf-8", buffering=1)
        except OSError as error:
            self.problem = f"no journal: {self.path}: {error.strerror}"

    def __call__(self, event: Event) -> None:
        if self._file is not None and not isinstance(event, Progress):
            self._write(self._file, event)
        if self.problem is not None and self._tell is not None:
            tell, self._tell = self._tell, None
            tell(Note(self.problem))

    def _write(self, file: IO[str], event: Event) -> None:
        entry = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **as_json(event)}
        try:
            file.write(json.dumps(entry) + "\n")
        except OSError as error:
            self.problem = f"the journal ends here: {self.path}: {error.strerror}"
            self.close()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # Closing writes once more what could not be written.
            with contextlib.suppress(OSError):
                file.close()
