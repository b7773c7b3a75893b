"""When the watcher restarts, by which command, and what it knows of a restart that failed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spark_cluster.core.finding import Severity
from spark_cluster.facts.lock import Holder
from spark_cluster.inventory.models import Inventory
from spark_cluster.watch.detector import Condition
from spark_cluster.watch.observation import Observation
from spark_cluster.workload.launched import Launched


@dataclass(frozen=True)
class Restarts:
    """When the next restart is allowed: at most `cap` within `window` seconds, and a pause that
    doubles from `pause` on after each. One that was refused and changed nothing does not count for
    the cap, and the pause after it grows to `longest` only."""

    cap: int = 3
    pause: float = 60.0
    window: float = 6 * 3600.0
    longest: float = 900.0

    def wait(
        self, done: tuple[float, ...], now: float, refused: tuple[float, ...] = ()
    ) -> float | None:
        """Seconds until the next one may begin; None if the cap is reached."""
        recent = [at for at in done if now - at < self.window]
        tried = [at for at in refused if now - at < self.window]
        if len(recent) >= self.cap:
            return None
        free = [now]
        if recent:
            free.append(max(recent) + self.pause * 2.0 ** (len(recent) - 1))
        if tried:
            free.append(max(tried) + min(self.pause * 2.0 ** (len(tried) - 1), self.longest))
        return max(free) - now


@dataclass(frozen=True)
class Attempt:
    """How a restart ended. `problem` is empty if it serves again; `changed`: it got as far as
    taking something down or starting something. `process`: machine and process that took locks."""

    problem: str = ""
    changed: bool = True
    process: tuple[str, int] | None = None


@dataclass(frozen=True)
class Down:
    """A launch that a restart took down and did not bring back, `since` this time of the watcher's
    clock. `began` is when the first attempt did, as locks write it; `ours` are the attempts'."""

    launch: Launched
    problem: str
    since: float
    began: str
    ours: tuple[tuple[str, int] | None, ...]

    def after(self, attempt: Attempt) -> Down:
        """The same after one more attempt that failed."""
        return replace(self, problem=attempt.problem, ours=(*self.ours, attempt.process))

    def taken_over(self, last: str) -> bool:
        """Whether `last` (facts/lock.py), who held a host's lock last, is somebody else who came
        since: what is down is so by their will."""
        holder = Holder.of(last)
        return holder.since >= self.began and holder.process not in self.ours

    def condition(self, observation: Observation, *, settled: bool) -> Condition:
        """What holds while it is down. Not `settled`: the observation may be older than the
        attempt."""
        recipe, hosts = self.launch.recipe, self.launch.group
        unread = any(seen is None for host, seen in observation.hosts.items() if host in hosts)
        what = f"{recipe} was taken down by a restart and does not serve: {self.problem}"
        return Condition(
            "down",
            hosts[0],
            recipe,
            "MON006",
            Severity.CRITICAL,
            what,
            self.since,
            unseen=unread or not settled,
        )


def command(launch: Launched, inventory: Inventory) -> list[str]:
    """The words that bring it back: `relaunch` takes its choices from the containers that are left;
    where none is, `launch` is told them."""
    if launch.hosts:
        return ["relaunch", launch.recipe]
    names = (name for name, hosts in inventory.groups.items() if hosts == launch.group)
    words = ["launch", launch.recipe, "--anyway", "--group"]
    words.append(next(names, ",".join(launch.group)))
    words += ["--profile", launch.profile] if launch.profile else []
    words += ["--with", ",".join(launch.options)] if launch.options else []
    words += launch.overrides.words()
    words += ["--restart-at-boot"] if launch.restarts else []
    return words
