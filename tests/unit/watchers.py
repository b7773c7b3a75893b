"""A watcher over fake hosts, turn by turn, and what a test gives it to act with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from spark_cluster.core.event import Alarmed, Event, Note
from spark_cluster.watch.responder import Remedies, Responder
from spark_cluster.watch.restarts import Attempt, Restarts, command
from spark_cluster.watch.watcher import Settings, Watcher
from spark_cluster.workload.launched import Launched

from . import world
from .test_status import page
from .world import Spark, stage

LOW = "state,2100, 3003, 28.00, 96, 61, 0x0\n"
HIGH = "state,2400, 3003, 85.00, 96, 61, 0x0\n"


def pair(**texts: str) -> list[Spark]:
    """The shipped recipe on its two hosts, with requests that run."""
    hosts = []
    for name in world.PAIR:
        pid = 4877 if name == "spark-2" else 4211
        gpu = world.healthy("gpu", name) + f"app,{pid}, python3, [N/A]\n"
        given = {"containers": world.running(name), "gpu-state": LOW, "gpu": gpu, **texts}
        hosts.append(Spark(name, given))
    hosts[0].texts["engine"] = page(1000)
    return hosts


class Stand:
    """A watcher whose clock goes fifteen seconds a turn; a response ends before the next turn."""

    def __init__(
        self, hosts: list[Spark], remedies: Remedies | None = None, policy: Restarts | None = None
    ) -> None:
        self.events: list[Event] = []
        self.collected = 0
        self.at = 0.0
        self.session = stage(hosts).session
        self.responder = Responder(
            remedies or Remedies(self.collect), self.events.append, policy or Restarts()
        )
        self.watcher = Watcher(
            self.session,
            world.inventory(),
            self.responder,
            self.events.append,
            Settings(interval=0.0),
            lambda: self.at,
        )

    def collect(self) -> str:
        self.collected += 1
        return "/evidence.tar.gz"

    def turns(self, count: int, each: Callable[[int], None] = lambda _: None) -> None:
        """So many turns, `each` called before every one with its number from 1."""
        done = 0
        take = self.watcher._take

        def counted(turn: Any) -> None:
            nonlocal done
            self.at += 15.0
            take(turn)
            self.responder.wait(10)
            done += 1
            each(done)
            if done == count:
                self.session.stop.request()

        self.watcher._take = counted  # type: ignore[method-assign]
        self.session.stop = type(self.session.stop)()
        self.watcher.run()
        self.watcher._take = take  # type: ignore[method-assign]

    def alarms(self) -> list[tuple[str, str, str]]:
        found = [event for event in self.events if isinstance(event, Alarmed)]
        return [(event.phase, event.condition, event.severity) for event in found]

    def notes(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Note)]


@contextmanager
def warmed() -> Iterator[Callable[..., Stand]]:
    """Makes stands whose engine has worked for an hour; closes their sessions."""
    made: list[Stand] = []

    def make(hosts: list[Spark], *rest: Any) -> Stand:
        stand = Stand(hosts, *rest)
        made.append(stand)

        def works(done: int) -> None:
            hosts[0].texts["engine"] = page(1000 + 100 * done)
            if done == 1:
                stand.at += 3600.0

        stand.turns(3, works)
        return stand

    yield make
    for stand in made:
        stand.session.close()


def launch_of(run: str, group: str, state: str = "running") -> dict[str, str]:
    """A head's `containers`, of this launch on these hosts."""
    head = world.running("spark-2", state=state)
    text = re.sub(r'"spark-cluster.run":"[^"]*"', f'"spark-cluster.run":"{run}"', head)
    return {"containers": re.sub(r'(cluster.group":)"[^"]*"', rf'\1"{group}"', text)}


class Restarter:
    """A remedies that ends as it is told, and remembers what it was called with."""

    def __init__(self, *attempts: Attempt, then: Callable[[], None] = lambda: None) -> None:
        self.attempts = list(attempts)
        self.then = then
        self.calls: list[Launched] = []

    def __call__(self, launch: Launched) -> Attempt:
        self.calls.append(launch)
        self.then()
        return self.attempts.pop(0) if len(self.attempts) > 1 else self.attempts[0]

    def commands(self) -> list[list[str]]:
        return [command(launch, world.inventory()) for launch in self.calls]
