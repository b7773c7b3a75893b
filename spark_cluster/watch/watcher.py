"""The watcher: read, judge, tell, expose, and have something done about what is fatal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from spark_cluster import places
from spark_cluster.core.error import SparkError
from spark_cluster.core.event import Alarmed, Listener, Note
from spark_cluster.facts.engine import ENGINE
from spark_cluster.facts.lock import LOCK
from spark_cluster.inventory.models import Inventory
from spark_cluster.monitoring.ports import WATCHER
from spark_cluster.runner.last_verdict import last_verdict
from spark_cluster.runner.session import Session
from spark_cluster.serving.api import with_key
from spark_cluster.serving.apis import APIS
from spark_cluster.watch import readings
from spark_cluster.watch.detector import Condition, State, Thresholds, judge
from spark_cluster.watch.exporter import Snapshot, SnapshotCollector
from spark_cluster.watch.families import Watching, WatchingCollector
from spark_cluster.watch.readings import Canary, Look
from spark_cluster.watch.responder import Responder
from spark_cluster.watch.turns import Turn, Watch
from spark_cluster.workload.launched import Launched, launched
from spark_cluster.workload.served import HostFacts, heads

#: Seconds that a canary may take: an idle engine needs one.
_CANARY_SECONDS = 60.0


def pause_file() -> Path:
    """While it is there, watchers look and tell, and do nothing."""
    return places.state_dir() / "watch-paused"


@dataclass(frozen=True)
class Settings:
    """Seconds: between readings, and between canaries of an idle engine."""

    interval: float = 15.0
    canary: float = 300.0
    thresholds: Thresholds = field(default_factory=Thresholds)


class Watcher:
    """`run` until the session is told to stop; `conditions` is what was wrong last."""

    def __init__(
        self,
        session: Session,
        inventory: Inventory,
        responder: Responder,
        listener: Listener,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._inventory = inventory
        self._responder = responder
        self._listener = listener
        self._settings = settings
        self._clock = clock
        self._state = State()
        self._asked = clock()
        self._canary: Canary | None = None
        self._doubt = False
        self._paused = False
        self._acting = False
        self._beside: set[tuple[str, str]] = set()
        self.conditions: tuple[Condition, ...] = ()
        self.snapshots = SnapshotCollector()
        self.findings = WatchingCollector()

    def run(self) -> None:
        interval, listener = self._settings.interval, self._listener
        watch = Watch(self._session, readings.FACTS, (), interval=interval, listener=listener)
        for turn in watch.turns():
            self._take(turn)

    def _take(self, turn: Turn) -> None:
        at = self._clock()
        look = readings.look(
            turn,
            self._inventory,
            at=at,
            hosts=tuple(self._session.hosts),
            canary=self._canary,
            lost={name: error.message for name, error in self._session.lost.items()},
        )
        self._canary = None
        self._state, found = judge(self._state, look.observation, self._settings.thresholds)
        launch = _launch_of(look, turn.known)
        if launch is not None:
            self._responder.meet(launch)
        # While something was done, this turn may have read the hosts before it ended.
        settled = not self._acting and not self._responder.busy
        if settled:
            self._heed_others(turn)
        down = self._responder.down
        if down is not None:
            condition = down.condition(look.observation, settled=settled)
            found = (condition, *found)
            launch = _left(down.launch, turn.known) if condition.fatal else launch
        self._tell(found)
        self._name_others(look, turn)
        self.conditions = found
        self._heed_pause()
        self._acting = self._responder.busy
        if not self._paused:
            self._acting = self._responder.consider(found, launch, at)
        self._expose(turn, look)
        self._ask(look, at)

    def _heed_others(self, turn: Turn) -> None:
        """What a restart took down is so no more: its head is there, or somebody else took over."""
        down = self._responder.down
        if down is None:
            return
        launch = down.launch
        if any((h.recipe, h.hosts) == (launch.recipe, launch.group) for h in heads(turn.after)):
            self._responder.down = None
        for name in (name for name in launch.group if name in turn.after):
            last = turn.after[name][LOCK].last
            if self._responder.down is not None and down.taken_over(last):
                self._listener(Note(f"{launch.recipe} is left to {last}", name))
                self._responder.down = None

    def _heed_pause(self) -> None:
        paused = pause_file().exists()
        if paused != self._paused:
            self._listener(Note("paused: looks, and does nothing" if paused else "acts again"))
        self._paused = paused

    def _tell(self, found: tuple[Condition, ...]) -> None:
        """What began, grew worse or ended since the last turn."""
        before = {each.key: each for each in self.conditions}
        now = {each.key: each for each in found}
        for key, each in now.items():
            if key not in before:
                self._alarm("began", each)
            elif each.severity == "critical" != before[key].severity:
                self._alarm("worse", each)
        for key, each in before.items():
            if key not in now:
                self._alarm("ended", each)

    def _alarm(self, phase: str, each: Condition) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._listener(
            Alarmed(now, phase, each.kind, each.host, each.code, each.severity, each.what)
        )

    def _name_others(self, look: Look, turn: Turn) -> None:
        """The launches that nobody judges, each once for as long as it runs beside this one."""
        now = {(each.host, each.run): each for each in look.beside}
        for port, (key, each) in enumerate(now.items(), WATCHER + 1):
            if key not in self._beside:
                command = f"watch --hosts {','.join(each.hosts)} --listen 127.0.0.1:{port}"
                self._listener(
                    Note(
                        f"also launched and not watched: {each.recipe} on {', '.join(each.hosts)}; "
                        f"run `spark-cluster {command}` for it"
                    )
                )
        unread = {key for key in self._beside if key[0] not in turn.after}
        self._beside = {*now, *unread}

    def _expose(self, turn: Turn, look: Look) -> None:
        engines = {
            name: facts[ENGINE].metrics
            for name, facts in turn.after.items()
            if facts[ENGINE].healthy is not None
        }
        verdict = last_verdict(self._inventory.path)
        hosts = {name: turn.after.get(name) for name in self._session.hosts}
        self.snapshots.snapshot = Snapshot(
            self._inventory, hosts, time.time(), engines=engines, verdict=verdict
        )
        judged = () if look.served is None else ((look.served, True),)
        launches = (*judged, *((each, False) for each in look.beside))
        self.findings.watching = Watching(
            self.conditions, len(self._responder.restarts), self._paused, launches
        )

    def _ask(self, look: Look, at: float) -> None:
        """A token of an engine that has nothing to do: /health does not see a dead rank. Not of
        one with a dead rank, which the request would end, and the evidence with it."""
        due = self._doubt or at - self._asked >= self._settings.canary
        served = look.served
        if served is None or not look.idle or not due or self._responder.busy or self._paused:
            return
        api = APIS.get(served.api)
        if api is None:
            return
        script = api.canary(served.port, served.head.label("model"), timeout=_CANARY_SECONDS)
        if served.has_key:
            script = with_key(script, served.head.name)
        outcome = self._session.each(
            [served.host],
            lambda host: host.run(script, timeout=_CANARY_SECONDS + 10, root=served.has_key),
        )[served.host]
        self._asked = self._clock()
        if isinstance(outcome, SparkError):
            self._listener(Note(f"the canary was not asked: {outcome.message}", served.host))
            return
        answer = api.parse_canary(outcome.stdout)
        said = "" if answer.ok else answer.error or "no token"
        self._doubt = bool(said)
        self._canary = Canary(readings.start_of(served), said)


def _launch_of(look: Look, known: HostFacts) -> Launched | None:
    """What would be restarted: the launch that is judged, by the containers that are there."""
    found = look.served
    if found is None or look.observation.engine is None:
        return None
    same = (each for each in launched(known) if each.group == found.hosts)
    return next((each for each in same if each.recipe == found.recipe), None)


def _left(launch: Launched, known: HostFacts) -> Launched:
    """The launch with those of its hosts on which something of it is left."""
    there = {(each.recipe, each.group): each.hosts for each in launched(known)}
    return replace(launch, hosts=there.get((launch.recipe, launch.group), {}))
