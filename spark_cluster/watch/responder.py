"""What the watcher does about a fatal condition: evidence first, then the user's command, then, if
it was told to, a restart. In a thread of its own, so that the watching goes on."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from spark_cluster.core.error import SparkError
from spark_cluster.core.event import Listener, Note
from spark_cluster.core.units import human_age
from spark_cluster.core.words import sentence
from spark_cluster.facts.lock import TIME
from spark_cluster.watch.detector import Condition, Key
from spark_cluster.watch.restarts import Attempt, Down, Restarts
from spark_cluster.workload.launched import Launched

#: Seconds for the user's command.
_HOOK_SECONDS = 600.0


@dataclass(frozen=True)
class Remedies:
    """`collect` writes the evidence and gives its path. `restart` tears down and launches again.
    Both may raise SparkError. `command` is the user's, for sh. `lacks` says why a recipe of this
    name could not be launched again; empty if it could."""

    collect: Callable[[], str]
    command: str = ""
    restart: Callable[[Launched], Attempt] | None = None
    lacks: Callable[[str], str] = lambda _: ""


class Responder:
    """One response at a time. A condition gets its evidence and its command once. A restart comes
    with a later look that still finds the condition: much mends while evidence is collected. It is
    repeated while the condition lasts, as often as `policy` allows. `restarts` are the times of
    those that changed something, `refused` of those since then that did not; `down` is what the
    last one took down and did not bring back; `restarting` names what one is about."""

    def __init__(self, remedies: Remedies, listener: Listener, policy: Restarts) -> None:
        self._remedies = remedies
        self._listener = listener
        self._policy = policy
        self._seen: set[tuple[Key, float]] = set()
        self._told_cap = False
        self._met: set[str] = set()
        self._thread: threading.Thread | None = None
        self.restarts: tuple[float, ...] = ()
        self.refused: tuple[float, ...] = ()
        self.down: Down | None = None
        self.restarting = ""

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Until the response that runs has ended, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def meet(self, launch: Launched) -> None:
        """Tell once if a restart could not find the recipe."""
        if self._remedies.restart is None or launch.recipe in self._met:
            return
        self._met.add(launch.recipe)
        lack = self._remedies.lacks(launch.recipe)
        if lack:
            self._listener(Note(f"{launch.recipe} could not be restarted: {lack}"))

    def consider(
        self, conditions: tuple[Condition, ...], launch: Launched | None, at: float
    ) -> bool:
        """Begin a response, if one is due `at` this time of the watcher's clock; `launch` is what
        would be restarted. Whether one runs, or was begun."""
        fatal = next((each for each in conditions if each.fatal), None)
        if self.busy:
            return True
        if fatal is None:
            return False
        if (fatal.key, fatal.since) not in self._seen:
            self._seen.add((fatal.key, fatal.since))
            self._begin(partial(self._keep, fatal))
            return True
        if launch is None or fatal.attended or not self._due(at):
            return False
        self._begin(partial(self._restart, fatal, launch, at))
        return True

    def _begin(self, work: Callable[[], None]) -> None:
        def respond() -> None:
            try:
                work()
            except SparkError as error:
                self._listener(Note(f"{sentence(error.message)} {error.remedy}", error.host))

        self._thread = threading.Thread(target=respond, name="responder", daemon=True)
        self._thread.start()

    def _due(self, at: float) -> bool:
        if self._remedies.restart is None:
            return False
        wait = self._policy.wait(self.restarts, at, self.refused)
        if wait is None and not self._told_cap:
            window = human_age(self._policy.window)
            self._listener(Note(f"no more restarts: {self._policy.cap} within {window}"))
        self._told_cap = wait is None
        return wait == 0.0

    def _keep(self, fatal: Condition) -> None:
        evidence = self._collect()
        if self._remedies.command:
            self._run_command(fatal, evidence)

    def _restart(self, fatal: Condition, launch: Launched, at: float) -> None:
        assert self._remedies.restart is not None
        self._listener(Note(f"restarting {launch.recipe} because of {fatal.kind}"))
        began = datetime.now(UTC).strftime(TIME)
        self.restarting = launch.recipe
        try:
            attempt = self._remedies.restart(launch)
        except SparkError as error:
            attempt = Attempt(f"{sentence(error.message)} {error.remedy}", changed=False)
        self._remember(attempt, launch, at, began)
        self.restarting = ""
        self._listener(Note(attempt.problem or f"restarted {launch.recipe}"))

    def _remember(self, attempt: Attempt, launch: Launched, at: float, began: str) -> None:
        if attempt.changed:
            self.restarts, self.refused = (*self.restarts, at), ()
        else:
            self.refused += (at,)
        if not attempt.problem:
            self.down = None
        elif self.down is not None:
            self.down = self.down.after(attempt)
        elif attempt.changed:
            left = replace(launch, hosts={})
            self.down = Down(left, attempt.problem, at, began, (attempt.process,))

    def _collect(self) -> str:
        """Its path; empty if it could not be collected, which keeps nobody from a restart."""
        try:
            path = self._remedies.collect()
        except SparkError as error:
            self._listener(Note(f"no evidence: {error.message}", error.host))
            return ""
        self._listener(Note(f"evidence: {path}"))
        return path

    def _run_command(self, fatal: Condition, evidence: str) -> None:
        about = {
            "CONDITION": fatal.kind, "HOST": fatal.host, "CODE": fatal.code, "WHAT": fatal.what,
            "EVIDENCE": evidence,
        }  # fmt: skip
        environment = {f"SPARK_CLUSTER_{name}": value for name, value in about.items()}
        try:
            done = subprocess.run(
                ["sh", "-c", self._remedies.command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                timeout=_HOOK_SECONDS,
                check=False,
            )
            said = f"ended with status {done.returncode}"
        except subprocess.TimeoutExpired:
            said = f"did not end within {_HOOK_SECONDS:.0f} s"
        self._listener(Note(f"--on-wedge: {self._remedies.command}: {said}"))
