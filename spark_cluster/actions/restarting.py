"""How `watch --restart` restarts: `relaunch` or `launch` in a process of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from spark_cluster.actions.deploying import Choices, load_recipe
from spark_cluster.core.error import InputError
from spark_cluster.core.words import sentence
from spark_cluster.inventory.models import Inventory
from spark_cluster.watch.restarts import Attempt, command
from spark_cluster.workload.launched import Launched


def restarter(inventory: Inventory, show: Callable[[str], None]) -> Callable[[Launched], Attempt]:
    """A restart in a session of its own: the watcher's Ctrl-C and the watcher's end leave it alone.

    `show` gets each line that it writes, an event in JSON.
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
        for line in process.stdout:
            show(line.rstrip("\n"))
            found = event(line)
            # A run that is refused ends before its first step.
            changed = changed or found.get("kind") == "step_started"
            serves = serves or _gave_a_token(found)
        code = process.wait()
        done = "" if changed else ", nothing was changed"
        failed = code != 0 and not serves
        return Attempt(
            f"{words[0]} of {launch.recipe} gave exit code {code}{done}" if failed else "",
            changed,
            (socket.gethostname(), process.pid),
        )

    return again


def _gave_a_token(found: dict[str, Any]) -> bool:
    """A launch whose tokens do not travel as they should serves all the same; its lines say so, and
    another restart would not change it."""
    step = found.get("kind") == "step_finished" and found.get("step") == "canary"
    return step and found.get("status") == "ok"


def lacks(inventory: Inventory) -> Callable[[str], str]:
    """Why a recipe cannot be loaded by its name: it was launched from a file, say."""

    def lack(recipe: str) -> str:
        try:
            load_recipe(inventory, recipe, Choices(anyway=True))
        except InputError as error:
            return f"{sentence(error.message)} Name its file under `recipes:` in {inventory.path}"
        return ""

    return lack


def event(line: str) -> dict[str, Any]:
    """Empty for a line that is no event."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
