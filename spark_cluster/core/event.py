"""What happens during a run, told once and read by three: the console, `--json`, the journal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, ClassVar

from spark_cluster.core.error import SparkError
from spark_cluster.core.reason import Reason


@dataclass(frozen=True)
class Event:
    """The root; `kind` names the event in JSON. A `passing` one is for a terminal alone, such as
    the turn of a counter."""

    kind: str = field(default="event", init=False)
    passing: ClassVar[bool] = False
    #: Whose fields stand in its JSON in place of its own; `as_dict` then says how.
    json_of: ClassVar[tuple[type, ...]] = ()

    def as_dict(self) -> dict[str, Any]:
        """Its fields as JSON's types."""
        return {item.name: as_json(getattr(self, item.name)) for item in fields(self)}


@dataclass(frozen=True)
class RunStarted(Event):
    kind: str = field(default="run_started", init=False)
    verb: str
    run: str
    hosts: tuple[str, ...]
    inventory: str
    recipe: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class HostConnected(Event):
    kind: str = field(default="host_connected", init=False)
    host: str
    address: str
    seconds: float


@dataclass(frozen=True)
class HostLost(Event):
    """A host could not be reached, or its connection died."""

    kind: str = field(default="host_lost", init=False)
    host: str
    error: SparkError


@dataclass(frozen=True)
class StepStarted(Event):
    kind: str = field(default="step_started", init=False)
    step: str
    title: str
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class StepFinished(Event):
    """`details` are the lines that say what was changed or found."""

    kind: str = field(default="step_finished", init=False)
    host: str
    step: str
    title: str
    status: str
    summary: str
    details: tuple[str, ...]
    seconds: float
    error: SparkError | None = None


@dataclass(frozen=True)
class Progress(Event):
    """A waiting step: what it waits for now."""

    kind: str = field(default="progress", init=False)
    host: str
    step: str
    message: str
    seconds: float


@dataclass(frozen=True)
class Guarded(Event):
    """The network guard: `armed`, `applied`, `confirmed`, `reverted` or `rejected`."""

    kind: str = field(default="guarded", init=False)
    host: str
    state: str
    message: str


@dataclass(frozen=True)
class Note(Event):
    """Something to tell that is no step: a lock taken over, a warning."""

    kind: str = field(default="note", init=False)
    message: str
    host: str | None = None


@dataclass(frozen=True)
class Alarmed(Event):
    """A condition that `watch` found began, grew worse, or ended, at `time` (ISO 8601)."""

    kind: str = field(default="alarmed", init=False)
    time: str
    phase: str
    condition: str
    host: str
    code: str
    severity: str
    what: str


@dataclass(frozen=True)
class RunFinished(Event):
    """`counts` is the number of results by status; `data` is what the verb has to say itself."""

    kind: str = field(default="run_finished", init=False)
    verb: str
    run: str
    exit_code: int
    counts: dict[str, int]
    seconds: float
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFailed(Event):
    """A run that an error ended, written down in place of its end."""

    kind: str = field(default="run_failed", init=False)
    error: SparkError


@dataclass(frozen=True)
class Failed(Event):
    """The error that a command line ends with."""

    kind: str = field(default="error", init=False)
    error: SparkError


Listener = Callable[[Event], None]


def as_json(value: Any) -> Any:
    """An event, or anything in one, as JSON's types. Errors by `as_dict`, the unknown by `str`."""
    if isinstance(value, SparkError | Event):
        return value.as_dict()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Reason):
        return value.text
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: as_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if hasattr(value, "model_dump"):  # pydantic's; its import takes a good part of --help's time
        return value.model_dump(mode="json")
    return str(value)
