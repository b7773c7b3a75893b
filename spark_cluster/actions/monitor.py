"""Prometheus, Grafana and their exporters on the hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Required, TypedDict

from pydantic import ValidationError

from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import Active, Outcome, read_hosts, run_playbook
from spark_cluster.actions.stack import stack_request, take_down
from spark_cluster.core.error import InputError, SparkError, Unreachable
from spark_cluster.core.event import Event
from spark_cluster.core.shell import quote
from spark_cluster.facts.base import Facts
from spark_cluster.facts.monitor import MONITOR, SCRAPED, SeenAlert, SeenTarget
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.loader import select
from spark_cluster.inventory.models import Inventory
from spark_cluster.monitoring import config, ports
from spark_cluster.monitoring.stack import SERVICES
from spark_cluster.monitoring.targets import from_outside
from spark_cluster.runner.request import RunRequest
from spark_cluster.steps import monitor, monitor_services, steps_of

_REMEDIES = {
    "without": f"Known programs: {', '.join(service.name for service in SERVICES)}.",
    "engine_port": "Write a port: 1 to 65535.",
    "watcher": "Write an address and a port, such as 192.168.102.10:9470.",
}

_STEPS = tuple(step.name for step in (*steps_of(monitor), *steps_of(monitor_services)))


@dataclass(frozen=True)
class ProgramStatus:
    """`ready`: it answers; `by` is container or unit."""

    name: str
    state: str
    ready: bool
    by: str


class MonitorStatus(TypedDict, total=False):
    """A host. `state` is up, or unknown with a `reason`: it was not reached, and there is nothing
    else, or its docker does not answer. `others` answer and were not started by us."""

    host: Required[str]
    state: str
    reason: str
    grafana: str
    prometheus: str
    targets: tuple[SeenTarget, ...]
    programs: tuple[ProgramStatus, ...]
    others: list[str]
    docker_error: str
    data_kept: bool
    alerts: tuple[SeenAlert, ...]


@dataclass(frozen=True)
class MonitorReport(Event):
    """What runs where, which targets answer and which alerts fire."""

    kind: str = field(default="monitor_status", init=False)
    inventory: str
    hosts: tuple[MonitorStatus, ...]

    @property
    def exit_code(self) -> int:
        return 3 if any(row["state"] == "unknown" for row in self.hosts) else 0


def request(
    verb: str,
    inventory: Inventory,
    hosts: Sequence[str],
    parameters: Mapping[str, Any],
    settings: Sequence[str] = (),
    **more: Any,
) -> RunRequest:
    """The playbook `monitor`, every step with these parameters."""
    return stack_request(verb, "monitor", _STEPS, inventory, hosts, parameters, settings, **more)


def up(
    inventory: Inventory,
    hosts: Sequence[str],
    operator: Operator,
    *,
    host: str | None = None,
    packages: bool = False,
    without: Sequence[str] = (),
    engine_port: int = 8000,
    watcher: str = "",
    settings: Sequence[str] = (),
    dry_run: bool = False,
    commands: bool = False,
) -> Outcome:
    """Start the monitoring; Prometheus and Grafana on `host`, or where they are. `packages`:
    Debian's programs in place of images; `without` leaves programs out; `watcher` is the address
    and port of the watcher's metrics.

    The outcome's data: `host`, `grafana`, `prometheus` and `targets` as far as they answer, and
    `password_command`, which shows Grafana's password.
    """
    parameters = {
        "source": "packages" if packages else "images",
        "without": list(without),
        "engine_port": engine_port,
        "watcher": watcher,
    }
    check(parameters)
    note = None
    if host:
        server = select(inventory, [host])[0]
    else:
        seen = read_hosts(inventory, list(inventory.hosts), [MONITOR], operator)
        server, why = server_of(seen)
        note = f"Prometheus and Grafana: on {server}, {why}"
    asked = request(
        "monitor up", inventory, select(inventory, [*hosts, server]),
        {"host": server, **parameters}, settings, note=note,
    )  # fmt: skip

    def end(active: Active) -> dict[str, Any]:
        return started(inventory, server, active.session.hosts[server].facts)

    return run_playbook(asked, operator, dry_run=dry_run, commands=commands, end=end)


def started(inventory: Inventory, server: str, facts: Facts) -> dict[str, Any]:
    """Where the monitoring is, and what a person types here to see Grafana's password."""
    typed = _typed(inventory, server, f"sudo cat {config.PASSWORD}")
    return {**urls(inventory, server, facts), "password_command": typed}


def down(
    inventory: Inventory,
    hosts: Sequence[str],
    operator: Operator,
    *,
    purge: bool = False,
    dry_run: bool = False,
    commands: bool = False,
) -> Outcome:
    """Stop and remove the monitoring; what was collected stays unless `purge`."""
    asked = request("monitor down", inventory, hosts, {"state": "absent", "purge": purge})
    asked = replace(asked, all_hosts_needed=False, carry_on=True)
    return take_down(asked, operator, "monitor-services", dry_run=dry_run, commands=commands)


def status(inventory: Inventory, hosts: Sequence[str], operator: Operator) -> MonitorReport:
    """One exec a host; nothing is changed."""
    found = read_hosts(inventory, hosts, [MONITOR, SCRAPED], operator)
    rows = tuple(_row(inventory, name, outcome) for name, outcome in found.items())
    return MonitorReport(str(inventory.path), rows)


def check(parameters: Mapping[str, Any]) -> None:
    """Raises InputError for a parameter that is wrong."""
    try:
        monitor.Params.model_validate(dict(parameters))
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        given = parameters[field]
        said = ", ".join(given) if isinstance(given, list) else given
        raise InputError(
            f"--{field.replace('_', '-')} {said}: there is no such value", remedy=_REMEDIES[field]
        ) from error


def server_of(found: Mapping[str, Facts | SparkError]) -> tuple[str, str]:
    """The host for Prometheus and Grafana when nobody named one, and why that one.

    Raises Unreachable if they may be on a host that was not reached.
    """
    facts = {n: seen[MONITOR] for n, seen in found.items() if not isinstance(seen, SparkError)}
    runs = [name for name, fact in facts.items() if fact.runs("prometheus")]
    configured = [name for name, fact in facts.items() if config.PROMETHEUS in fact.files]
    for name in (*runs, *configured):
        return name, "where they are"
    for name, seen in found.items():
        if isinstance(seen, SparkError):
            raise Unreachable(
                f"whether Prometheus is on {name} is unknown: {seen.message}",
                host=name,
                remedy=f"Run it again when {name} answers, or say which host with --host.",
            )
    for name in (name for name, fact in facts.items() if fact.data):
        return name, "where what was collected is"
    return next(iter(found)), "the first of the inventory; --host for another"


def urls(inventory: Inventory, server: str, facts: Facts) -> MonitorStatus:
    """Where the monitoring is, and what its targets say; what does not answer is left out."""
    address = from_outside(inventory, server)
    ready = facts[MONITOR].ready if MONITOR in facts else frozenset()
    found: MonitorStatus = {"host": server}
    if "grafana" in ready:
        found["grafana"] = f"http://{address}:{ports.GRAFANA}/d/{config.UID}"
    if "prometheus" in ready:
        found["prometheus"] = f"http://{address}:{ports.PROMETHEUS}"
    if SCRAPED in facts:
        found["targets"] = facts[SCRAPED].targets
    return found


def _typed(inventory: Inventory, name: str, command: str) -> str:
    """What a person types here to run it on the host; sudo may want a terminal for its password."""
    target = inventories.target(inventory, name)
    if target.address == "local":
        return command
    words = ["ssh", "-t"]
    words += ["-F", target.ssh_config] if target.ssh_config else []
    words += ["-o", f"UserKnownHostsFile={target.known_hosts}"] if target.known_hosts else []
    words += ["-p", str(target.port)] if target.port else []
    words += ["-i", target.identity] if target.identity else []
    words.append(f"{target.user}@{target.address}" if target.user else target.address)
    return f"{' '.join(quote(word) for word in words)} {command}"


def _row(inventory: Inventory, name: str, outcome: Facts | SparkError) -> MonitorStatus:
    if isinstance(outcome, SparkError):
        return {"host": name, "state": "unknown", "reason": outcome.message}
    fact, scraped = outcome[MONITOR], outcome[SCRAPED]
    running = {**fact.units, **fact.containers}
    row = urls(inventory, name, outcome)
    row |= {
        "state": "unknown" if fact.docker_silent else "up",
        "programs": tuple(
            ProgramStatus(
                program, seen.state, program in fact.ready,
                "container" if program in fact.containers else "unit",
            )
            for program, seen in running.items()
        ),
        "others": sorted(fact.ready - set(running)),
        "docker_error": fact.docker_error,
        "data_kept": fact.data,
        "alerts": scraped.alerts,
    }  # fmt: skip
    if fact.docker_silent:
        row["reason"] = f"docker says: {fact.docker_error}"
    return row
