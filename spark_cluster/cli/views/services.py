"""What `services` asks for and what it prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from spark_cluster.cli.running import (
    Request,
    activate,
    load_inventory,
    lost_results,
    read_hosts,
)
from spark_cluster.cli.terminal import Console, say_json
from spark_cluster.cli.verbs import End, run_playbook
from spark_cluster.core.error import InputError, SparkError
from spark_cluster.facts.base import Facts
from spark_cluster.facts.services import OBSERVABILITY
from spark_cluster.inventory.loader import select
from spark_cluster.inventory.models import Inventory
from spark_cluster.monitoring.targets import from_outside
from spark_cluster.services.service import Listen, Service, reached
from spark_cluster.services.table import SERVICES
from spark_cluster.steps.services import STEPS, left_alone

_LISTEN: dict[str, Listen] = {"": "", "all": "all", "local": "local"}


def _hosts(inventory: Inventory, host: str | None) -> list[str]:
    return select(inventory, [host])[:1] if host else list(inventory.hosts)


def _server(inventory: Inventory, name: str) -> tuple[str, tuple[str, ...]]:
    """The host for a service that no host was named for, and what to warn of: where it runs, else
    where ours is kept, else the first."""
    hosts = list(inventory.hosts)
    if len(hosts) == 1:
        return hosts[0], ()
    outcomes = read_hosts(inventory, hosts, [OBSERVABILITY])
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


def _request(
    verb: str,
    inventory: Inventory,
    hosts: list[str],
    parameters: dict[str, Any],
    *,
    as_json: bool,
    verbose: bool,
) -> Request:
    settings = [
        f"{step.name}.{name}={json.dumps(value)}"
        for step in STEPS
        for name, value in parameters.items()
    ]
    return Request(
        verb=verb,
        playbook="services",
        hosts=hosts,
        inventory=inventory,
        settings=settings,
        as_json=as_json,
        verbose=verbose,
    )


def up(
    name: str,
    given: str | None,
    host: str | None,
    listen: str,
    *,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """`services NAME up`. The exit code."""
    if listen not in _LISTEN:
        raise InputError(
            f"--listen {listen}: there is no such value",
            remedy="`all` listens on every address of the host, `local` on its loopback only.",
        )
    inventory = load_inventory(given)
    service = SERVICES[name]
    server, warnings = (select(inventory, [host])[0], ()) if host else _server(inventory, name)
    address = from_outside(inventory, server)
    parameters = {"service": name, "listen": listen, "address": address}
    request = replace(
        _request(f"services {name} up", inventory, [server], parameters,
                 as_json=as_json, verbose=verbose),
        warnings=warnings,
    )  # fmt: skip
    url = f"http://{reached(service.listen(_LISTEN[listen]), address)}:{service.port}"
    data = {"service": name, "host": server, "url": url, "limits": list(service.limits)}
    end = End(data, _told(service, server, url))
    return run_playbook(request, dry_run=dry_run, commands=verbose, end=lambda _: end)


def _told(service: Service, host: str, url: str) -> Iterator[str]:
    yield f"{service.name} answers: {url}" + (f" (on {host} only)" if "localhost" in url else "")
    for line in service.login:
        yield f"  {line.format(host=host, env=service.env_file)}"
    for line in service.limits:
        yield f"  note: {line}"


def down(
    name: str,
    given: str | None,
    host: str | None,
    *,
    purge: bool,
    dry_run: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """`services NAME down` on one host, or wherever it is. The exit code."""
    inventory = load_inventory(given)
    parameters = {"service": name, "state": "absent", "purge": purge}
    request = replace(
        _request(f"services {name} down", inventory, _hosts(inventory, host), parameters,
                 as_json=as_json, verbose=verbose),
        all_hosts_needed=False,
        carry_on=True,
    )  # fmt: skip
    if dry_run:
        return run_playbook(request, dry_run=True, commands=verbose)
    with activate(request) as active:
        results = active.run.apply(active.run.plan())
        missing = lost_results(active.session, "service-running")
        code = active.finish([*results, *missing])
        for at in active.session.alive:
            fact = active.session.hosts[at].facts[OBSERVABILITY].services[name]
            for line in left_alone(SERVICES[name], fact, purge=purge):
                active.say(f"{at}: {line}")
        for result in missing:
            active.say(
                f"unknown: {result.host} was not reached; {name} may still run there. "
                f"Run `spark-cluster services {name} down --host {result.host}` when it answers."
            )
        return code


def status(name: str, given: str | None, host: str | None, *, as_json: bool) -> int:
    """`services NAME status` on one host or all. The exit code: 3 if a host is away."""
    inventory = load_inventory(given)
    found = read_hosts(inventory, _hosts(inventory, host), [OBSERVABILITY])
    rows = [_row(SERVICES[name], at, outcome) for at, outcome in found.items()]
    if as_json:
        say_json({"inventory": str(inventory.path), "service": name, "hosts": rows})
    else:
        console = Console()
        for row in rows:
            console.line(f"  {_line(row)}")
    return 3 if any(row["state"] == "unknown" for row in rows) else 0


def _row(service: Service, host: str, outcome: Facts | SparkError) -> dict[str, Any]:
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


def _line(row: dict[str, Any]) -> str:
    match row["state"]:
        case "unknown":
            return f"unknown    {row['host']}: {row['reason']}"
        case "absent":
            return f"{row['host']}: not there"
        case "foreign":
            return f"{row['host']}: there is one that spark-cluster did not make"
        case "down":
            kept = ", its data is kept" if row["data_kept"] else ""
            return f"{row['host']}: stopped{kept}"
    parts = ", ".join(f"{name} {state}" for name, state in row["containers"].items())
    what = parts or f"unit {row['unit']}"
    answer = f"HTTP {row['answer']}" if row["answer"] else "no answer"
    return f"{row['host']}: {what}; {answer} on port {row['port']}"
