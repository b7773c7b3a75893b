"""What the watcher does about a fatal condition: evidence first, then the user's command, then, if
it was told to, a restart. In a thread of its own, so that the watching goes on."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from spark_cluster.core.error import SparkError
from spark_cluster.core.event import Listener, Note
from spark_cluster.core.units import human_age
from spark_cluster.monitor.judgement import Condition, Restarts
from spark_cluster.steps.served import Served

#: Seconds for the user's command.
_HOOK_SECONDS = 600.0


@dataclass(frozen=True)
class Means:
    """`collect` writes the evidence and gives its path. `restart` tears down and launches again;
    it gives the reason if it could not, else nothing. Both may raise SparkError. `command` is the
    user's, for sh."""

    collect: Callable[[], str]
    command: str = ""
    restart: Callable[[Served], str] | None = None


class Responder:
    """One response at a time. A condition gets its evidence and its command once. A restart comes
    with a later look that still finds the condition: much mends while evidence is collected. It is
    repeated while the condition lasts, as often as `policy` allows."""

    def __init__(self, means: Means, listener: Listener, policy: Restarts) -> None:
        self._means = means
        self._listener = listener
        self._policy = policy
        self._seen: set[tuple[tuple[str, str, str], float]] = set()
        self._told_cap = False
        self._thread: threading.Thread | None = None
        self.restarts: tuple[float, ...] = ()

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Until the response that runs has ended, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)

    def consider(self, conditions: tuple[Condition, ...], served: Served | None, at: float) -> None:
        """Begin a response, if one is due `at` this time of the watcher's clock."""
        fatal = next((each for each in conditions if each.fatal), None)
        if fatal is None or self.busy:
            return
        if (fatal.key, fatal.since) not in self._seen:
            self._seen.add((fatal.key, fatal.since))
            self._begin(partial(self._keep, fatal))
        elif served is not None and not fatal.attended and self._due(at):
            self.restarts += (at,)
            self._begin(partial(self._restart, fatal, served))

    def _begin(self, work: Callable[[], None]) -> None:
        def respond() -> None:
            try:
                work()
            except SparkError as error:
                self._listener(Note(f"{error.message}. {error.remedy}", error.host))

        self._thread = threading.Thread(target=respond, name="responder", daemon=True)
        self._thread.start()

    def _due(self, at: float) -> bool:
        if self._means.restart is None:
            return False
        wait = self._policy.wait(self.restarts, at)
        if wait is None and not self._told_cap:
            window = human_age(self._policy.window)
            self._listener(Note(f"no more restarts: {self._policy.cap} within {window}"))
        self._told_cap = wait is None
        return wait == 0.0

    def _keep(self, fatal: Condition) -> None:
        evidence = self._collect()
        if self._means.command:
            self._run_command(fatal, evidence)

    def _restart(self, fatal: Condition, served: Served) -> None:
        assert self._means.restart is not None
        self._listener(Note(f"restarting {served.recipe} because of {fatal.kind}"))
        problem = self._means.restart(served)
        self._listener(Note(problem or f"restarted {served.recipe}"))

    def _collect(self) -> str:
        """Its path; empty if it could not be collected, which keeps nobody from a restart."""
        try:
            path = self._means.collect()
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
                ["sh", "-c", self._means.command],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                timeout=_HOOK_SECONDS,
                check=False,
            )
            said = f"ended with status {done.returncode}"
        except subprocess.TimeoutExpired:
            said = f"did not end within {_HOOK_SECONDS:.0f} s"
        self._listener(Note(f"--on-wedge: {self._means.command}: {said}"))
