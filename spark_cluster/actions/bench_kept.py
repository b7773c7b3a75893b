"""What a run has brought so far: in its file after each level, then on the screen."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from spark_cluster.actions.bench_place import Place
from spark_cluster.bench import files, vllm_serve
from spark_cluster.bench.plan import Settings, Step
from spark_cluster.bench.results import Level, Run, Server
from spark_cluster.core.error import StepFailed
from spark_cluster.core.event import Event, Listener, Note
from spark_cluster.core.version import __version__


@dataclass(frozen=True)
class Begun(Event):
    """The server is known, and so are the levels to come; `beside`: hosts are read meanwhile."""

    kind: str = field(default="bench_started", init=False)
    server: Server
    settings: Settings
    levels: tuple[str, ...]
    beside: bool


@dataclass(frozen=True)
class Counted(Event):
    """Requests of a level so far; `requests` is None where the level ends by time."""

    kind: str = field(default="bench_progress", init=False)
    passing: ClassVar[bool] = True
    level: str
    requests: int | None
    done: int
    failed: int


@dataclass(frozen=True)
class LevelEnded(Event):
    """A level is over: in JSON the level's own fields (bench/results.py), but for its requests."""

    kind: str = field(default="level", init=False)
    json_of: ClassVar[tuple[type, ...]] = (Level,)
    level: Level

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.level.model_dump(mode="json", exclude={"requests"})}


@dataclass(frozen=True)
class Finished(Event):
    """A run's end, and its file."""

    kind: str = field(default="bench_finished", init=False)
    file: str
    exit_code: int
    interrupted: bool
    notes: tuple[str, ...]
    has_failures: bool


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Kept:
    """A run under way; `path` is its file, None as long as no level is over."""

    name: str
    settings: Settings
    place: Place
    listener: Listener
    folder: Path
    by_vllm: bool
    notes: tuple[str, ...] = ()
    prompts: str = ""
    levels: list[Level] = field(default_factory=list)
    path: Path | None = None
    _server: Server | None = None
    _planned: tuple[str, ...] = ()
    _started: str = field(default_factory=_now)
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, server: Server, planned: Sequence[Step]) -> None:
        """The server is known, and so are the levels to come."""
        self._server, self._planned = server, tuple(step.name for step in planned)
        beside = self.place.sampler is not None and not self.by_vllm
        self.listener(Begun(server, self.settings, self._planned, beside))

    def progress(self, step: Step, done: int, failed: int) -> None:
        self.listener(Counted(step.name, step.requests, done, failed))

    def finished(self, level: Level) -> None:
        """Until the run's end its file says that it was interrupted: it may be. A file that cannot
        be written now is tried again after the next level."""
        self.levels.append(level)
        try:
            self.save(interrupted=True)
        except StepFailed as error:
            self.listener(Note(error.message))
        self.listener(LevelEnded(level))

    @property
    def complete(self) -> bool:
        return len(self.levels) == len(self._planned)

    def save(self, *, interrupted: bool) -> Run:
        """Write what there is. Raises StepFailed."""
        with self._writing:
            run = self._run(interrupted)
            self.path = files.save(run, self.folder)
        return run

    def end(self, *, interrupted: bool = False, code: int = 0) -> Finished:
        """Write the file for the last time and tell of it; its exit code is 1 if it would be 0 and
        a request failed. Raises StepFailed."""
        run = self.save(interrupted=interrupted)
        assert self.path is not None
        code = code or int(run.has_failures)
        told = Finished(str(self.path), code, run.interrupted, run.notes, run.has_failures)
        self.listener(told)
        return told

    def _run(self, interrupted: bool) -> Run:
        assert self._server is not None
        return Run(
            program=f"spark-cluster {__version__}",
            tool=vllm_serve.TOOL if self.by_vllm else "spark-cluster bench",
            kind=self.settings.kind,
            run=self.name,
            started=self._started,
            ended=_now(),
            server=self._server,
            arguments=self.settings.as_dict(),
            prompts=self.prompts,
            deployment=self.place.deployment,
            recipe=self.place.recipe,
            hosts=self.place.facts,
            notes=(*self.notes, *self._missing()),
            interrupted=interrupted and not self.complete,
            levels=tuple(self.levels),
        )

    def _missing(self) -> tuple[str, ...]:
        there = {level.name for level in self.levels}
        names = ", ".join(name for name in self._planned if name not in there)
        word = "no result" if self.by_vllm else "not run"
        return (f"{word}: {names}",) if names else ()
