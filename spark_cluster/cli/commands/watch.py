"""`spark-cluster watch`: look at the cluster for as long as it serves, and act if told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from spark_cluster.cli.options import (
    HostsOption,
    InventoryOption,
    JsonOption,
    split,
)
from spark_cluster.cli.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from prometheus_client import CollectorRegistry

    from spark_cluster.core.event import Event, Listener
    from spark_cluster.inventory.models import Inventory
    from spark_cluster.runner.session import Session
    from spark_cluster.watch.responder import Responder


#: How many archives of evidence this user's watchers leave; the oldest go first.
_KEPT = 20


def register(app: typer.Typer) -> None:
    app.command("watch")(watch)


def watch(
    interval: Annotated[
        float, typer.Option("--interval", min=2, max=600, help="Seconds between readings.")
    ] = 15.0,
    on_wedge: Annotated[
        str,
        typer.Option(
            "--on-wedge",
            metavar="CMD",
            help="Shell command to run on a fatal condition; reads SPARK_CLUSTER_CONDITION, _HOST, "
            "_CODE, _WHAT and _EVIDENCE.",
        ),
    ] = "",
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Relaunch what is wedged or dead (needs sudo without a password).",
        ),
    ] = False,
    cap: Annotated[
        int, typer.Option("--cap", min=1, max=100, help="Maximum restarts in six hours.")
    ] = 3,
    listen: Annotated[
        str,
        typer.Option("--listen", metavar="ADDRESS:PORT", help="Address that serves the metrics."),
    ] = "127.0.0.1:9470",
    pause: Annotated[
        bool,
        typer.Option("--pause", help="Pause this user's watchers on this machine: observe only."),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume paused watchers.")] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Install as a systemd service with these options.")
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Stop and remove the systemd service.")
    ] = False,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Watch for wedges, dead ranks, memory, rails, errors and reboots.

    Runs until Ctrl-C. Tells what begins and ends, collects evidence of what is fatal, and gives
    metrics to Prometheus. It restarts only with --restart, as `relaunch` does. Exit 4 if something
    grave held at the end.
    """
    from spark_cluster.core.error import InputError

    given = [name for name, value in
             (("--pause", pause), ("--resume", resume), ("--install", install),
              ("--uninstall", uninstall)) if value]  # fmt: skip
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} do not go together", remedy="Choose one of them.")
    if pause or resume:
        return _pause(pause)
    if uninstall:
        from spark_cluster.actions.watch_service import uninstall as remove

        return remove()
    from spark_cluster.cli.running import load_inventory
    from spark_cluster.inventory.loader import select

    address = _address(listen)
    loaded = load_inventory(inventory)
    names = select(loaded, split(hosts))
    if install:
        from spark_cluster.actions.watch_service import install as make

        words = ["--interval", f"{interval:g}", "--listen", listen, "--inventory", str(loaded.path)]
        words += ["--on-wedge", on_wedge] if on_wedge else []
        words += ["--restart", "--cap", str(cap)] if restart else []
        words += ["--hosts", ",".join(names)] if hosts else []
        return make(words)
    return _watch(
        loaded, names, interval, on_wedge, cap if restart else 0, address, as_json=as_json
    )


def _pause(paused: bool) -> int:
    """Raises InputError if the file that says so cannot be written or removed."""
    import getpass
    import socket

    from spark_cluster.core.error import InputError
    from spark_cluster.watch.watcher import pause_file

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
    whom = f"watchers of {getpass.getuser()} on {socket.gethostname()}"
    does = "look on and do nothing; `watch --resume` ends that" if paused else "act again"
    say(f"{whom} {does}")
    return 0


def _address(text: str) -> tuple[str, int]:
    """Raises InputError."""
    from spark_cluster.core.error import InputError

    address, _, port = text.rpartition(":")
    if not address or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--listen {text}", remedy="For example 0.0.0.0:9470 or [::]:9470.")
    return address.strip("[]"), int(port)


def _watch(
    inventory: Inventory,
    names: list[str],
    interval: float,
    command: str,
    cap: int,
    address: tuple[str, int],
    *,
    as_json: bool,
) -> int:
    """`cap` 0: it may not restart."""
    import time

    from prometheus_client import CollectorRegistry

    from spark_cluster.actions import restarting
    from spark_cluster.cli.running import looking
    from spark_cluster.core.event import RunFinished, RunStarted
    from spark_cluster.runner.bus import Bus
    from spark_cluster.runner.interrupt import heed
    from spark_cluster.runner.journal import Journal, new_run
    from spark_cluster.watch.responder import Remedies, Responder
    from spark_cluster.watch.restarts import Restarts
    from spark_cluster.watch.watcher import Settings, Watcher

    registry = CollectorRegistry(auto_describe=False)
    # Before hosts are waited for: a second watcher is told so at once.
    server = _serve(registry, address)
    started, run = time.monotonic(), new_run()
    printer = _printer(as_json=as_json)
    book = Journal(run, "watch", printer)
    bus = Bus([printer, book])
    with looking(inventory, names) as session, heed(session, bus):
        remedies = Remedies(
            lambda: _evidence(inventory, session),
            command,
            restarting.restarter(inventory, _shower(as_json=as_json)) if cap else None,
            restarting.lacks(inventory),
        )
        responder = Responder(remedies, bus, Restarts(cap))
        watcher = Watcher(session, inventory, responder, bus, Settings(interval))
        registry.register(watcher.snapshots)
        registry.register(watcher.findings)
        bus(RunStarted("watch", run, tuple(names), str(inventory.path)))
        if not as_json:
            say(
                f"watching {', '.join(names)} every {interval:g} s; metrics on "
                f"http://{address[0]}:{address[1]}/metrics; Ctrl-C ends"
            )
        try:
            watcher.run()
        finally:
            server.shutdown()
            _say_what_goes_on(responder, bus)
            code = 4 if any(each.severity == "critical" for each in watcher.conditions) else 0
            bus(RunFinished("watch", run, code, {}, time.monotonic() - started))
            book.close()
    return code


def _say_what_goes_on(responder: Responder, listener: Listener) -> None:
    """A restart outlives the watcher: half of it would be worse than none."""
    from spark_cluster.core.event import Note

    if responder.restarting:
        what = f"the restart of {responder.restarting} goes on without the watcher"
        listener(Note(f"{what}; `spark-cluster history` shows how it ends"))


def _serve(registry: CollectorRegistry, address: tuple[str, int]) -> Any:
    """Raises InputError if the port is in use."""
    from prometheus_client import start_http_server

    from spark_cluster.core.error import InputError

    try:
        return start_http_server(address[1], address[0], registry)[0]
    except OSError as error:
        raise InputError(
            f"--listen {address[0]}:{address[1]}: {error.strerror}",
            remedy="Choose another port; a watcher may run already.",
        ) from error


def _evidence(inventory: Inventory, watching: Session) -> str:
    """Collected over connections of its own, while the watching goes on; nobody is asked for a
    password again."""
    from spark_cluster import places
    from spark_cluster.actions.evidence import default_path, gather
    from spark_cluster.cli.running import looking

    folder = places.state_dir() / "evidence"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with looking(inventory, list(watching.hosts)) as session:
        session.become.password = watching.become.password
        session.become.ask = None
        path = folder / f"watch-{default_path().name}"
        told = gather(session, inventory, path, since="2h")
    _drop_old(path)
    return str(told.path)


def _drop_old(newest: Path) -> None:
    """Keep so many archives of watchers; whatever else lies in their folder stays."""
    import contextlib
    import re

    own = re.compile(r"watch-spark-cluster-evidence-[0-9]{8}-[0-9]{6}\.tar\.gz")
    found = sorted(path for path in newest.parent.iterdir() if own.fullmatch(path.name))
    for path in [path for path in found if path != newest][: 1 - _KEPT]:
        with contextlib.suppress(OSError):
            path.unlink()


def _shower(*, as_json: bool) -> Callable[[str], None]:
    """What a restart says, among the watcher's lines."""
    from spark_cluster.actions.restarting import told

    printer = _printer(as_json=False)

    def show(line: str) -> None:
        from spark_cluster.core.event import Note

        if as_json:
            say(line)
        elif text := told(line):
            printer(Note(text))

    return show


def _printer(*, as_json: bool) -> Callable[[Event], None]:
    """A line an event for a person, or an object a line."""
    from datetime import datetime

    from spark_cluster.cli.views.console import JsonLines
    from spark_cluster.core.event import Alarmed, HostLost, Note

    if as_json:
        return JsonLines()

    def show(event: Event) -> None:
        text = ""
        if isinstance(event, Alarmed):
            text = f"{event.phase} {event.severity} {event.condition} {event.code}: {event.host}"
            text += f": {event.what}"
        elif isinstance(event, HostLost):
            text = f"{event.host} is lost: {event.error.message}"
        elif isinstance(event, Note):
            text = ": ".join(part for part in (event.host, event.message) if part)
        if text:
            say(f"{datetime.now():%H:%M:%S}  {text}")

    return show
