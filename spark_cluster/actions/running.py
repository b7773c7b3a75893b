"""From a verb's options to a finished run: load, connect, plan, apply, tell, write down."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from spark_cluster import places
from spark_cluster.cli.pipes import go_on_unheard
from spark_cluster.cli.views.console import ConsoleView, JsonLines
from spark_cluster.core.error import SparkError
from spark_cluster.core.event import Listener, Note, RunFailed, RunFinished, RunStarted
from spark_cluster.core.plan import Plan
from spark_cluster.core.result import Result, Status, exit_code
from spark_cluster.core.secret import Secret
from spark_cluster.engines.spec import Deployment
from spark_cluster.facts.base import Fact, Facts, ProbeContext
from spark_cluster.facts.table import FACTS
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from spark_cluster.playbook import loader as playbooks
from spark_cluster.runner.bus import Bus
from spark_cluster.runner.interrupt import heed
from spark_cluster.runner.journal import Journal, new_run
from spark_cluster.runner.run import Run
from spark_cluster.runner.session import HostSession, Session
from spark_cluster.steps import registry
from spark_cluster.steps.view import Options
from spark_cluster.transport.protocol import Become, Connector


@dataclass(frozen=True)
class Request:
    """What the command line asked for; `playbook` is empty for a verb that has none. `needs` are
    steps that the playbook must have."""

    verb: str
    playbook: str
    hosts: list[str]
    inventory: Inventory
    settings: Sequence[str] = ()
    options: Options = field(default_factory=Options)
    deployment: Deployment | None = None
    note: str | None = None
    warnings: tuple[str, ...] = ()
    as_json: bool = False
    verbose: bool = False
    all_hosts_needed: bool = True
    preempt: tuple[str, ...] = ()
    carry_on: bool = False
    needs_lock: bool = True
    needs: tuple[str, ...] = ()
    run: str = field(default_factory=new_run)


def load_inventory(given: str | None) -> Inventory:
    return inventories.load(inventories.find(given))


def connector() -> Connector:
    """SSH, or this very machine for a host whose address is `local`."""
    from spark_cluster.transport import local, ssh
    from spark_cluster.transport.protocol import Connection, Target

    def connect(target: Target, become: Become) -> Connection:
        if target.address == "local":
            return local.connect(target, become)
        return ssh.connect(target, become)

    return connect


def ask_password() -> Become:
    """One prompt for all hosts, only when a host's sudo wants a password and someone is there."""

    def ask() -> Secret:
        import getpass

        return Secret(getpass.getpass("sudo password for the hosts: "))

    return Become(ask=ask if sys.stdin.isatty() and sys.stderr.isatty() else None)


def templates() -> dict[str, str]:
    """The netplan templates, the user's own over ours."""
    found: dict[str, str] = {}
    for folder in reversed(places.search_path("netplan")):
        for path in sorted(folder.glob("*.j2")):
            found[path.name] = path.read_text(encoding="utf-8")
    return found


@dataclass
class Active:
    """A connected run with its listeners; `finish` tells the end and gives the exit code."""

    request: Request
    run: Run
    session: Session
    bus: Listener
    view: ConsoleView | None
    started: float

    def finish(
        self,
        results: Sequence[Result],
        *,
        data: dict[str, Any] | None = None,
        code: int | None = None,
    ) -> int:
        counts = Counter(result.status.value for result in results)
        code = exit_code(list(results)) if code is None else code
        seconds = time.monotonic() - self.started
        self.bus(
            RunFinished(
                self.request.verb, self.request.run, code, dict(counts), seconds, data or {}
            )
        )
        return code

    def say(self, text: str = "") -> None:
        """A line for a person; nothing under --json."""
        if self.view is not None:
            self.view.flush()
            self.view.console.line(text)


@contextlib.contextmanager
def activate(request: Request, *, journal: bool = True, endless: bool = False) -> Iterator[Active]:
    """Connect to the hosts and have everything ready; closes and tells whatever happens.

    A run with a journal goes on when nobody reads its output any more, unless it is `endless`.

    Raises Unreachable if a host that is needed is away: nothing was changed anywhere.
    """
    if request.playbook:
        path = playbooks.find(request.playbook)
        playbook = playbooks.load(path, registry(), request.settings, request.needs)
    else:
        playbook = playbooks.BoundPlaybook(request.inventory.path, request.verb, request.verb, ())
    if journal and not endless:
        go_on_unheard()
    view = None if request.as_json else ConsoleView(verbose=request.verbose)
    listeners: list[Listener] = [view or JsonLines()]
    book = Journal(request.run, request.verb, listeners[0]) if journal else None
    if book is not None:
        listeners.append(book)
    bus = Bus(listeners)
    hosts = [
        HostSession(
            inventories.target(request.inventory, name),
            ProbeContext(request.inventory.hosts[name], request.inventory, request.deployment),
        )
        for name in request.hosts
    ]
    become = ask_password()
    if request.deployment is not None:
        become.secrets += request.deployment.secret_values.values()
    session = Session(hosts, connector(), become)
    started = time.monotonic()
    bus(
        RunStarted(
            request.verb,
            request.run,
            tuple(request.hosts),
            str(request.inventory.path),
            request.deployment.recipe if request.deployment else request.options.recipe or None,
            request.note,
        )
    )
    for warning in (*playbook.notes, *request.warnings):
        bus(Note(warning))
    try:
        with heed(session, bus):
            session.connect(bus)
            if session.lost and (request.all_hosts_needed or not session.alive):
                raise session.away()
            run = Run(
                request.run,
                request.verb,
                session,
                playbook,
                request.inventory,
                FACTS,
                bus,
                deployment=request.deployment,
                templates=templates(),
                options=request.options,
                preempt=request.preempt,
                carry_on=request.carry_on,
                needs_lock=request.needs_lock,
                needs_all=request.all_hosts_needed,
            )
            yield Active(request, run, session, bus, view, started)
    except SparkError as error:
        if view is not None:
            view.flush()
        if book is not None:
            book(RunFailed(error))
        raise
    finally:
        session.close()
        if book is not None:
            book.close()


@contextlib.contextmanager
def looking(
    inventory: Inventory, names: list[str], deployment: Deployment | None = None
) -> Iterator[Session]:
    """A connected session for one look: no run, no lock, no journal."""
    hosts = [
        HostSession(
            inventories.target(inventory, name),
            ProbeContext(inventory.hosts[name], inventory, deployment),
        )
        for name in names
    ]
    session = Session(hosts, connector(), ask_password())
    try:
        session.connect(lambda _: None)
        yield session
    finally:
        session.close()


def read_hosts(
    inventory: Inventory,
    names: list[str],
    facts: Sequence[Fact[object]],
    deployment: Deployment | None = None,
) -> dict[str, Facts | SparkError]:
    """These facts of each host in one exec each; the error of a host that is away."""
    with looking(inventory, names, deployment) as session:
        found = session.each(session.alive, lambda host: host.read(facts))
        return {name: session.lost.get(name) or found[name] for name in names}


def refuse(active: Active, plan: Plan) -> list[Result]:
    """The reasons not to begin, told; empty if there are none.

    Raises Locked if another run is at work on a host that refuses.
    """
    refused = active.run.refusals(plan)
    active.run.heed_others(refused)
    from spark_cluster.core.event import StepFinished

    for result in refused:
        active.bus(
            StepFinished(
                result.host, result.step, result.title, result.status.value,
                result.summary, result.details, result.seconds, result.error,
            )
        )  # fmt: skip
    return refused


def lost_results(session: Session, step: str) -> list[Result]:
    """Hosts that never answered, as results of a run that went on without them."""
    return [
        Result(name, step, Status.UNKNOWN, f"not reached: {error.message}", error=error)
        for name, error in session.lost.items()
    ]
