"""Look at the cluster for as long as it serves, and act if told to."""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, start_http_server

from spark_cluster import places
from spark_cluster.actions.evidence import default_path, gather
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.restarting import lacks, restarter
from spark_cluster.actions.run import looking
from spark_cluster.core.error import InputError
from spark_cluster.core.event import Event, Listener, Note, RunFinished, RunStarted
from spark_cluster.inventory.models import Inventory
from spark_cluster.monitoring.ports import WATCHER
from spark_cluster.runner.bus import Bus
from spark_cluster.runner.interrupt import heed
from spark_cluster.runner.journal import Journal, new_run
from spark_cluster.runner.session import Session
from spark_cluster.watch.detector import DEFAULT, Condition, Thresholds
from spark_cluster.watch.responder import Remedies, Responder
from spark_cluster.watch.restarts import Restarts
from spark_cluster.watch.watcher import Settings, Watcher, pause_file

#: How many archives of evidence this user's watchers leave; the oldest go first.
_KEPT = 20


class Address(NamedTuple):
    """Where a server listens; an IPv6 address stands in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


LOOPBACK = Address("127.0.0.1", WATCHER)


@dataclass(frozen=True)
class WatchRequest:
    """Seconds between two readings; `command` for sh on a fatal condition; at most `cap` restarts
    in six hours, 0: it may not restart; `listen`: where the metrics are served."""

    interval: float = 15.0
    command: str = ""
    cap: int = 0
    listen: Address = LOOPBACK
    thresholds: Thresholds = DEFAULT


@dataclass(frozen=True)
class Watching(Event):
    """The watcher is at work."""

    kind: str = field(default="watching", init=False)
    hosts: tuple[str, ...]
    interval: float
    metrics: str


@dataclass(frozen=True)
class Watched:
    """How it ended: the conditions that held. Exit code 4 if one of them is grave."""

    conditions: tuple[Condition, ...]

    @property
    def exit_code(self) -> int:
        return 4 if any(each.severity == "critical" for each in self.conditions) else 0


@dataclass(frozen=True)
class Paused(Event):
    """Whose watchers were paused, or act again."""

    kind: str = field(default="watch_paused", init=False)
    user: str
    host: str
    paused: bool


def watch(
    inventory: Inventory,
    names: Sequence[str],
    request: WatchRequest,
    operator: Operator,
) -> Watched:
    """Watch until a stop. What a restart tells is told as RestartTold.

    Raises InputError if the metrics' port is in use.
    """
    registry = CollectorRegistry(auto_describe=False)
    run, started = new_run(), time.monotonic()
    # Before hosts are waited for: a second watcher is told so at once.
    with _served(registry, request.listen) as metrics:
        # Restarts are heard by their own thread, and have journals of their own.
        heard = Bus([operator.listener])
        book = Journal(run, "watch", heard)
        bus = Bus([heard, book])
        with looking(inventory, names, operator) as session, heed(session, bus):
            remedies = Remedies(
                lambda: _evidence(inventory, session, operator),
                request.command,
                restarter(inventory, heard) if request.cap else None,
                lacks(inventory),
            )
            responder = Responder(remedies, bus, Restarts(request.cap))
            settings = Settings(request.interval, thresholds=request.thresholds)
            watcher = Watcher(session, inventory, responder, bus, settings)
            registry.register(watcher.snapshots)
            registry.register(watcher.findings)
            bus(RunStarted("watch", run, tuple(names), str(inventory.path)))
            heard(Watching(tuple(names), request.interval, metrics))
            try:
                watcher.run()
            finally:
                _say_what_goes_on(responder, bus)
                ended = Watched(watcher.conditions)
                seconds = time.monotonic() - started
                bus(RunFinished("watch", run, ended.exit_code, {}, seconds))
                book.close()
            return ended


def pause(paused: bool) -> Paused:
    """Have this user's watchers on this machine look on and do nothing, or act again.

    Raises InputError if the file that says so cannot be written or removed.
    """
    path = pause_file()
    try:
        if paused:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path} cannot be {'written' if paused else 'removed'}: {error.strerror}",
            remedy="Choose another place with $XDG_STATE_HOME, the same for the watchers.",
        ) from error
    return Paused(getpass.getuser(), socket.gethostname(), paused)


def _say_what_goes_on(responder: Responder, listener: Listener) -> None:
    """A restart outlives the watcher: half of it would be worse than none."""
    if responder.restarting:
        what = f"the restart of {responder.restarting} goes on without the watcher"
        listener(Note(f"{what}; `spark-cluster history` shows how it ends"))


@contextlib.contextmanager
def _served(registry: CollectorRegistry, address: Address) -> Iterator[str]:
    """The metrics' address while they are served. Raises InputError if the port is in use."""
    try:
        server, _ = start_http_server(address.port, address.host, registry)
    except OSError as error:
        raise InputError(
            f"--listen {address}: {error.strerror}",
            remedy="Choose another port; a watcher may run already.",
        ) from error
    try:
        yield f"http://{Address(address.host, server.server_port)}/metrics"
    finally:
        server.shutdown()


def _evidence(inventory: Inventory, watching: Session, operator: Operator) -> str:
    """Collected over connections of its own, while the watching goes on; nobody is asked for a
    password again."""
    folder = places.state_dir() / "evidence"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with looking(inventory, list(watching.hosts), operator) as session:
        session.become.password = watching.become.password
        session.become.ask = None
        path = folder / f"watch-{default_path().name}"
        collected = gather(session, inventory, path, since="2h")
    _drop_old(path)
    return collected.path


def _drop_old(newest: Path) -> None:
    """Keep so many archives of watchers; whatever else lies in their folder stays."""
    own = re.compile(r"watch-spark-cluster-evidence-[0-9]{8}-[0-9]{6}\.tar\.gz")
    found = sorted(path for path in newest.parent.iterdir() if own.fullmatch(path.name))
    for path in [path for path in found if path != newest][: 1 - _KEPT]:
        with contextlib.suppress(OSError):
            path.unlink()
