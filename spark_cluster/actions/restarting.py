"""How `watch --restart` restarts: `relaunch` or `launch` in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from spark_cluster.actions.deploying import Choices, load_recipe
from spark_cluster.core.error import InputError, SparkError
from spark_cluster.core.event import (
    Event,
    Failed,
    HostLost,
    Listener,
    Note,
    Progress,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
)
from spark_cluster.core.words import sentence
from spark_cluster.inventory.models import Inventory
from spark_cluster.watch.restarts import Attempt, command
from spark_cluster.workload.launched import Launched


@dataclass(frozen=True)
class RestartTold(Event):
    """What the run of a restart tells: `line` as it was written, which is its JSON, and what it is
    to the watcher; None if it is nothing to it."""

    kind: str = field(default="restart_told", init=False)
    line: dict[str, Any]
    event: Event | None

    def as_dict(self) -> dict[str, Any]:
        return self.line


def restarter(inventory: Inventory, listener: Listener) -> Callable[[Launched], Attempt]:
    """A restart in a session of its own: the watcher's Ctrl-C and the watcher's end leave it alone.

    `listener` hears what it tells: RestartTold, and a Note of a line that is no event.
    """

    def again(launch: Launched) -> Attempt:
        words = [*command(launch, inventory), "--inventory", str(inventory.path), "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "spark_cluster", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        changed = serves = False
        for line in filter(None, map(str.strip, process.stdout)):
            told = read(line)
            listener(told)
            if isinstance(told, RestartTold):
                # A run that is refused ends before its first step.
                changed = changed or isinstance(told.event, StepStarted)
                serves = serves or _gave_a_token(told.event)
        code = process.wait()
        done = "" if changed else ", nothing was changed"
        failed = code != 0 and not serves
        return Attempt(
            f"{words[0]} of {launch.recipe} gave exit code {code}{done}" if failed else "",
            changed,
            (socket.gethostname(), process.pid),
        )

    return again


def _gave_a_token(event: Event | None) -> bool:
    """A launch whose tokens do not travel as they should serves all the same; its lines say so, and
    another restart would not change it."""
    return isinstance(event, StepFinished) and (event.step, event.status) == ("canary", "ok")


def lacks(inventory: Inventory) -> Callable[[str], str]:
    """Why a recipe cannot be loaded by its name: it was launched from a file, say."""

    def lack(recipe: str) -> str:
        try:
            load_recipe(inventory, recipe, Choices(anyway=True))
        except InputError as error:
            return f"{sentence(error.message)} Name its file under `recipes:` in {inventory.path}"
        return ""

    return lack


#: What of a run is something to the watcher.
_KINDS: dict[Any, type[Event]] = {
    each.kind: each
    for each in (
        RunStarted, StepStarted, StepFinished, Note, Progress, HostLost, Failed, RunFinished,
    )
}  # fmt: skip


def read(line: str) -> Event:
    """A line of --json as RestartTold; as a Note, if it is no event."""
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("kind"), str):
        return Note(line)
    return RestartTold(said, _event(said))


def _event(said: dict[str, Any]) -> Event | None:
    """A field that it needs and lacks, as in another release, is empty."""
    kind = _KINDS.get(said["kind"])
    if kind is None:
        return None
    needed = [each.name for each in fields(kind) if each.init and each.default is MISSING]
    known = [each.name for each in fields(kind) if each.init and each.name in said]
    try:
        return kind(**{name: _typed(name, said.get(name, "")) for name in {*needed, *known}})
    except (TypeError, KeyError):
        return None


def _typed(name: str, value: Any) -> Any:
    if name == "error" and value is not None:
        return SparkError(value["message"], remedy=value["remedy"])
    return tuple(value) if isinstance(value, list) else value
