"""What `monitor` asks for and what it prints."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from spark_cluster.cli.running import Request
from spark_cluster.cli.terminal import Console
from spark_cluster.core.error import InputError, SparkError, Unreachable
from spark_cluster.core.shell import quote
from spark_cluster.core.units import count
from spark_cluster.facts.base import Facts
from spark_cluster.facts.monitor import MONITOR, SCRAPED, ScrapedFact
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory
from spark_cluster.monitoring import config, ports
from spark_cluster.monitoring.stack import SERVICES
from spark_cluster.monitoring.targets import from_outside
from spark_cluster.steps import monitor, monitor_services

_REMEDIES = {
    "without": f"Known programs: {', '.join(service.name for service in SERVICES)}.",
    "watcher": "Write an address and a port, such as 192.168.102.10:9470.",
}

_NO_ENGINE = "no engine was found on any host: `monitor up --engine-port` for another port"

_STEPS = tuple(step.name for step in (*monitor.STEPS, *monitor_services.STEPS))


def request(
    verb: str,
    inventory: Inventory,
    hosts: list[str],
    parameters: Mapping[str, Any],
    settings: Sequence[str],
    *,
    as_json: bool,
    verbose: bool,
) -> Request:
    """The playbook `monitor`, every step with these parameters; `settings` win over them.

    Raises InputError for a parameter that is wrong.
    """
    check(parameters)
    ours = [
        f"{step}.{name}={json.dumps(value)}"
        for step in _STEPS
        for name, value in parameters.items()
    ]
    return Request(
        verb=verb,
        playbook="monitor",
        hosts=hosts,
        inventory=inventory,
        settings=[*ours, *settings],
        as_json=as_json,
        verbose=verbose,
    )


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


def urls(inventory: Inventory, server: str, facts: Facts) -> dict[str, Any]:
    """Where the monitoring is, and what its targets say; what does not answer is left out."""
    address = from_outside(inventory, server)
    ready = facts[MONITOR].ready if MONITOR in facts else frozenset()
    found: dict[str, Any] = {"host": server}
    if "grafana" in ready:
        found["grafana"] = f"http://{address}:{ports.GRAFANA}/d/{config.UID}"
    if "prometheus" in ready:
        found["prometheus"] = f"http://{address}:{ports.PROMETHEUS}"
    if SCRAPED in facts:
        found["targets"] = [asdict(target) for target in facts[SCRAPED].targets]
    return found


def told(inventory: Inventory, server: str, facts: Facts) -> Iterator[str]:
    """The end of `monitor up`, for a person."""
    where = urls(inventory, server, facts)
    if "grafana" in where:
        yield f"Grafana     {where['grafana']}"
        command = _typed(inventory, server, f"sudo cat {config.PASSWORD}")
        yield f"            user admin, password: {command}"
    else:
        yield f"Dashboard   {config.DASHBOARD} on {server}: import it into a Grafana of yours"
    if "prometheus" in where:
        yield f"Prometheus  {where['prometheus']}"
    if SCRAPED in facts:
        yield from _targets(facts[SCRAPED], "Targets     ")
    yield "next: spark-cluster monitor status"


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


def _targets(scraped: ScrapedFact, head: str) -> Iterator[str]:
    expected = [target for target in scraped.targets if target.health != "absent"]
    up = sum(target.health == "up" for target in expected)
    if scraped.targets:
        yield f"{head}{up} of {len(expected)} answer"
    for target in expected:
        if target.health != "up":
            who = " ".join(word for word in (target.job, target.host, target.address) if word)
            why = f": {target.error}" if target.error else ""
            yield f"{' ' * len(head)}{target.health}: {who}{why}"
    if _no_engine([target.health for target in scraped.targets if target.job == "vllm"]):
        yield f"{' ' * len(head)}{_NO_ENGINE}"


def _no_engine(healths: Collection[str]) -> bool:
    return bool(healths) and set(healths) == {"absent"}


def rows(inventory: Inventory, found: Mapping[str, Facts | SparkError]) -> list[dict[str, Any]]:
    """One row a host; `state` is `up` or `unknown`, with the reason: it was not reached, or its
    docker does not answer, and then the row has what is known without it."""
    return [_row(inventory, name, outcome) for name, outcome in found.items()]


def _row(inventory: Inventory, name: str, outcome: Facts | SparkError) -> dict[str, Any]:
    if isinstance(outcome, SparkError):
        return {"host": name, "state": "unknown", "reason": outcome.message}
    fact, scraped = outcome[MONITOR], outcome[SCRAPED]
    running = {**fact.units, **fact.containers}
    return {
        **urls(inventory, name, outcome),
        "host": name,
        "state": "unknown" if fact.docker_silent else "up",
        **({"reason": f"docker says: {fact.docker_error}"} if fact.docker_silent else {}),
        "programs": [
            {"name": program, "state": seen.state, "ready": program in fact.ready,
             "by": "container" if program in fact.containers else "unit"}
            for program, seen in running.items()
        ],
        "others": sorted(fact.ready - set(running)),
        "docker_error": fact.docker_error,
        "data_kept": fact.data,
        "alerts": [asdict(alert) for alert in scraped.alerts],
    }  # fmt: skip


def show(console: Console, found: list[dict[str, Any]]) -> None:
    """The rows for a person."""
    for row in found:
        for line in _lines(row):
            console.line(line)


def _lines(row: dict[str, Any]) -> Iterator[str]:
    if row["state"] == "unknown":
        yield f"  unknown    {row['host']}: {row['reason']}"
        if "programs" not in row:
            return
    elif not row["programs"] and not row["others"]:
        kept = "; what was collected is kept" if row["data_kept"] else ""
        yield f"  {row['host']}: no monitoring runs{kept}"
    for program in row["programs"]:
        answers = "answers" if program["ready"] else "does not answer"
        yield f"  {row['host']}: {program['name']} ({program['by']}) {program['state']}, {answers}"
    for name in row["others"]:
        whose = "whose it is, docker would tell" if "reason" in row else "not started by us"
        yield f"  {row['host']}: {name} answers, {whose}"
    for name in ("grafana", "prometheus"):
        if name in row and row["programs"]:
            yield f"             {row[name]}"
    yield from _scraped_lines(row)


def _scraped_lines(row: dict[str, Any]) -> Iterator[str]:
    targets = row.get("targets", ())
    expected = [target for target in targets if target["health"] != "absent"]
    up = sum(target["health"] == "up" for target in expected)
    if targets:
        yield f"             {up} of {count(len(expected), 'target')} answer"
    for target in expected:
        if target["health"] != "up":
            yield (
                f"             {target['health']}: {target['job']} {target['host']} "
                f"{target['address']} {target['error']}"
            )
    if _no_engine([target["health"] for target in targets if target["job"] == "vllm"]):
        yield f"             {_NO_ENGINE}"
    for alert in row["alerts"]:
        code = f" ({alert['code']})" if alert["code"] else ""
        yield f"             {alert['state']} {alert['name']}{code}: {alert['summary']}"
