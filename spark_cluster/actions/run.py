"""From a request to a finished run: connect, plan, apply, tell, write down."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spark_cluster import places
from spark_cluster.actions.operator import Operator
from spark_cluster.core.error import SparkError
from spark_cluster.core.event import (
    Listener,
    Note,
    RunFailed,
    RunFinished,
    RunStarted,
)
from spark_cluster.core.plan import Plan
from spark_cluster.core.result import Result, Status, exit_code
from spark_cluster.engines.spec import Deployment
from spark_cluster.facts.base import Fact, Facts, ProbeContext
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from spark_cluster.playbook import loader as playbooks
from spark_cluster.playbook.loader import BoundPlaybook
from spark_cluster.runner.bus import Bus
from spark_cluster.runner.interrupt import heed
from spark_cluster.runner.journal import Journal
from spark_cluster.runner.request import RunRequest
from spark_cluster.runner.run import Run
from spark_cluster.runner.session import HostSession, Session
from spark_cluster.steps import registry

#: What to do next about a host whose docker cannot say what runs.
DOCKER_REMEDY = "`spark-cluster doctor` looks at docker."


@dataclass(frozen=True)
class Outcome:
    """How an action ended.

    exit_code  what the command line ends with (core/error.py)
    results    a step on a host each
    data       what the verb has to say itself, as RunFinished tells it
    plan       what a dry run would change; `in_the_way` are step and host of the problems that no
               earlier step of it will have mended; `commands`: its shell commands are asked for
    """

    exit_code: int
    results: tuple[Result, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    in_the_way: frozenset[tuple[str, str]] = frozenset()
    commands: bool = False


def load_inventory(given: str | None) -> Inventory:
    """The inventory file that is named, else the user's own, else the one that ships.

    Raises InputError with file, line and field of what is wrong in it.
    """
    return inventories.load(inventories.find(given))


def templates() -> dict[str, str]:
    """The netplan templates, the user's own over ours."""
    found: dict[str, str] = {}
    for folder in reversed(places.search_path("netplan")):
        for path in sorted(folder.glob("*.j2")):
            found[path.name] = path.read_text(encoding="utf-8")
    return found


def bind(request: RunRequest) -> BoundPlaybook:
    """The request's playbook. Raises InputError."""
    if not request.playbook:
        return BoundPlaybook(request.inventory.path, request.verb, request.verb, ())
    path = playbooks.find(request.playbook)
    return playbooks.load(path, registry(), request.settings, request.needs)


@dataclass
class Active:
    """A connected run; `finish` tells its end."""

    request: RunRequest
    run: Run
    session: Session
    listener: Listener
    started: float

    def finish(
        self,
        results: Sequence[Result],
        *,
        data: dict[str, Any] | None = None,
        code: int | None = None,
    ) -> Outcome:
        """Tell the end. The exit code is that of the gravest result, unless it is given."""
        counts = Counter(result.status.value for result in results)
        code = exit_code(list(results)) if code is None else code
        seconds = time.monotonic() - self.started
        verb, run = self.request.verb, self.request.run
        self.listener(RunFinished(verb, run, code, dict(counts), seconds, data or {}))
        return Outcome(code, tuple(results), data or {})


@contextlib.contextmanager
def activate(request: RunRequest, operator: Operator, *, journal: bool = True) -> Iterator[Active]:
    """Connect to the hosts and have everything ready; closes and writes down whatever happens.

    Raises Unreachable if a host that is needed is away: nothing was changed anywhere.
    """
    playbook = bind(request)
    listeners = [operator.listener]
    book = Journal(request.run, request.verb, operator.listener) if journal else None
    if book is not None:
        listeners.append(book)
    bus = Bus(listeners)
    session = _session(request.inventory, request.hosts, operator, request.deployment)
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
            run = Run(request, session, playbook, bus, templates=templates())
            yield Active(request, run, session, bus, started)
    except SparkError as error:
        if book is not None:
            book(RunFailed(error))
        raise
    finally:
        session.close()
        if book is not None:
            book.close()


def _session(
    inventory: Inventory, names: Sequence[str], operator: Operator, deployment: Deployment | None
) -> Session:
    hosts = [
        HostSession(
            inventories.target(inventory, name),
            ProbeContext(inventory.hosts[name], inventory, deployment),
        )
        for name in names
    ]
    become = operator.become()
    if deployment is not None:
        become.secrets += deployment.secret_values.values()
    return Session(hosts, operator.reach(), become)


@contextlib.contextmanager
def looking(
    inventory: Inventory,
    names: Sequence[str],
    operator: Operator,
    deployment: Deployment | None = None,
) -> Iterator[Session]:
    """A connected session for one look: no run, no lock, no journal, no events."""
    session = _session(inventory, names, operator, deployment)
    try:
        session.connect(lambda _: None)
        yield session
    finally:
        session.close()


def read_hosts(
    inventory: Inventory,
    names: Sequence[str],
    facts: Sequence[Fact[object]],
    operator: Operator,
    deployment: Deployment | None = None,
) -> dict[str, Facts | SparkError]:
    """These facts of each host in one exec each; the error of a host that is away."""
    with looking(inventory, names, operator, deployment) as session:
        found = session.each(session.alive, lambda host: host.read(facts))
        return {name: session.lost.get(name) or found[name] for name in names}


def run_playbook(
    request: RunRequest,
    operator: Operator,
    *,
    dry_run: bool = False,
    commands: bool = False,
    end: Callable[[Active], dict[str, Any]] | None = None,
) -> Outcome:
    """Plan, and unless `dry_run` apply. `end` gives what the verb has to say itself; `commands`: a
    dry run tells the shell commands, too."""
    with activate(request, operator, journal=not dry_run) as active:
        plan = active.run.plan()
        if dry_run:
            return planned(active, plan, commands=commands)
        return carry_out(active, plan, end)


def carry_out(
    active: Active, plan: Plan, end: Callable[[Active], dict[str, Any]] | None = None
) -> Outcome:
    """Apply the plan, unless something is in the way."""
    refused = refuse(active, plan)
    if refused:
        return active.finish(refused, data={"begun": False})
    results = active.run.apply(plan)
    return active.finish(results, data=end(active) if end is not None else None)


def planned(active: Active, plan: Plan, *, commands: bool = False) -> Outcome:
    """The plan, and nothing done. Exit 0, or that of the hosts that could not be read."""
    refused = active.run.refusals(plan)
    in_the_way = frozenset((result.step, result.host) for result in refused)
    data = {"plan": plan.as_rows(commands=commands)}
    outcome = active.finish(active.run.results, data=data)
    return replace(outcome, plan=plan, in_the_way=in_the_way, commands=commands)


def refuse(active: Active, plan: Plan) -> list[Result]:
    """The reasons not to begin, told; empty if there are none.

    Raises Locked if another run is at work on a host that refuses.
    """
    refused = active.run.refusals(plan)
    active.run.heed_others(refused)
    for result in refused:
        active.listener(result.told())
    return refused


def lost_results(session: Session, step: str) -> list[Result]:
    """Hosts that never answered, as results of a run that went on without them."""
    return [
        Result(name, step, Status.UNKNOWN, f"not reached: {error.message}", error=error)
        for name, error in session.lost.items()
    ]
