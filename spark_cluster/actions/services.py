"""Observability services on a host: Phoenix, Langfuse, Helicone (services/)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Required, TypedDict

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Active, Outcome, read_hosts, run_playbook
from spark_cluster.actions.stack import stack_request, take_down
from spark_cluster.core.error import InputError, SparkError
from spark_cluster.core.event import Event
from spark_cluster.facts.base import Facts
from spark_cluster.facts.services import OBSERVABILITY
from spark_cluster.inventory.loader import select
from spark_cluster.inventory.models import Inventory
from spark_cluster.monitoring.targets import from_outside
from spark_cluster.services.service import Listen, Service, reached
from spark_cluster.services.table import SERVICES
from spark_cluster.steps import services, steps_of
from spark_cluster.steps.services import left_alone

_STEPS = [step.name for step in steps_of(services)]

_LISTEN: dict[str, Listen] = {"": "", "all": "all", "local": "local"}


class ServiceStatus(TypedDict, total=False):
    """A host. `state` is up, down, absent, foreign (not made by us), or unknown with a `reason`
    and nothing else; `answer` is the HTTP status on `port`."""

    host: Required[str]
    state: Required[str]
    reason: str
    answer: int | None
    port: int
    unit: str
    version: str
    containers: dict[str, str]
    data_kept: bool


@dataclass(frozen=True)
class ServiceReport(Event):
    """Where a service runs and whether it answers."""

    kind: str = field(default="service_status", init=False)
    inventory: str
    service: str
    hosts: tuple[ServiceStatus, ...]

    @property
    def exit_code(self) -> int:
        return 3 if any(row["state"] == "unknown" for row in self.hosts) else 0


def up(
    inventory: Inventory,
    name: str,
    operator: Operator,
    *,
    host: str | None = None,
    listen: str = "",
    dry_run: bool = False,
    commands: bool = False,
) -> Outcome:
    """Start a service on `host`, or where it is. `listen` is all, local, or empty for its own.

    The outcome's data: `service`, `host`, `url`, `local` (it answers on that host only), `limits`
    (what one should know of it) and `login` (how one gets in).
    """
    if listen not in _LISTEN:
        raise InputError(
            f"--listen {listen}: there is no such value",
            remedy="`all` listens on every address of the host, `local` on its loopback only.",
        )
    service = SERVICES[name]
    server, warnings = (
        (select(inventory, [host])[0], ()) if host else _server(inventory, name, operator)
    )
    address = from_outside(inventory, server)
    request = stack_request(
        f"services {name} up", "services", _STEPS, inventory, [server],
        {"service": name, "listen": listen, "address": address}, warnings=warnings,
    )  # fmt: skip
    at = reached(service.listen(_LISTEN[listen]), address)
    data = {
        "service": name,
        "host": server,
        "url": f"http://{at}:{service.port}",
        "local": at == "localhost",
        "login": [line.format(host=server, env=service.env_file) for line in service.login],
        "limits": list(service.limits),
    }
    return run_playbook(request, operator, dry_run=dry_run, commands=commands, end=lambda _: data)


def _server(inventory: Inventory, name: str, operator: Operator) -> tuple[str, tuple[str, ...]]:
    """The host for a service that no host was named for, and what to warn of: where it runs, else
    where ours is kept, else the first."""
    hosts = list(inventory.hosts)
    if len(hosts) == 1:
        return hosts[0], ()
    outcomes = read_hosts(inventory, hosts, [OBSERVABILITY], operator)
    found = {
        host: outcome[OBSERVABILITY].services[name]
        for host, outcome in outcomes.items()
        if not isinstance(outcome, SparkError)
        and not outcome[OBSERVABILITY].unknown(SERVICES[name])
    }
    ours = [host for host, fact in found.items() if fact.present]
    ours.sort(key=lambda host: not found[host].runs)
    if ours:
        return ours[0], ()
    missing = [host for host in hosts if host not in found]
    warning = f"{', '.join(missing)} could not be asked: {name} may be there already"
    return hosts[0], (warning,) if missing else ()


def down(
    inventory: Inventory,
    name: str,
    operator: Operator,
    *,
    host: str | None = None,
    purge: bool = False,
    dry_run: bool = False,
    commands: bool = False,
) -> Outcome:
    """Stop a service on one host, or wherever it is; its data stays unless `purge`.

    The outcome's data: `unknown` hosts, and `left_alone`, by host, what was not made by us.
    """
    request = stack_request(
        f"services {name} down", "services", _STEPS, inventory,
        _hosts(inventory, host), {"service": name, "state": "absent", "purge": purge},
        all_hosts_needed=False, carry_on=True,
    )  # fmt: skip

    def left(active: Active) -> dict[str, Any]:
        facts = {at: active.session.hosts[at].facts[OBSERVABILITY] for at in active.session.alive}
        told = {
            at: list(left_alone(SERVICES[name], fact.services[name], purge=purge))
            for at, fact in facts.items()
        }
        return {"service": name, "left_alone": told}

    return take_down(
        request, operator, "service-running", dry_run=dry_run, commands=commands, left=left
    )


def status(
    inventory: Inventory, name: str, operator: Operator, *, host: str | None = None
) -> ServiceReport:
    """One exec a host, on one host or all; nothing is changed."""
    found = read_hosts(inventory, _hosts(inventory, host), [OBSERVABILITY], operator)
    rows = tuple(_row(SERVICES[name], at, outcome) for at, outcome in found.items())
    return ServiceReport(str(inventory.path), name, rows)


def _hosts(inventory: Inventory, host: str | None) -> Sequence[str]:
    return select(inventory, [host])[:1] if host else list(inventory.hosts)


def _row(service: Service, host: str, outcome: Facts | SparkError) -> ServiceStatus:
    if isinstance(outcome, SparkError):
        return {"host": host, "state": "unknown", "reason": outcome.message}
    fact = outcome[OBSERVABILITY].services[service.name]
    unknown = outcome[OBSERVABILITY].unknown(service)
    if unknown:
        said = f"HTTP {fact.answer}" if fact.answer else "no answer"
        reason = f"docker says: {unknown}; {said} on port {service.port}"
        return {"host": host, "state": "unknown", "reason": reason}
    state = "foreign" if fact.foreign else "up" if fact.runs else "down" if fact.ours else "absent"
    return {
        "host": host,
        "state": state,
        "answer": fact.answer,
        "port": service.port,
        "unit": fact.unit,
        "version": fact.version,
        "containers": {name: part.state for name, part in fact.parts.items()},
        "data_kept": fact.data or fact.other_data,
    }
