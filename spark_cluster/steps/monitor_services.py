"""Prometheus, Grafana and their exporters: running as configured and answering, or gone."""

from __future__ import annotations

from collections.abc import Container, Mapping

from spark_cluster.core.shell import quote, write_file
from spark_cluster.core.step import Assessment, Change, Problem, found, skip
from spark_cluster.core.units import count
from spark_cluster.facts.docker import DOCKER
from spark_cluster.facts.monitor import MONITOR, SCRAPED, MonitorFact, Running
from spark_cluster.facts.storage import PORTS
from spark_cluster.monitoring import config
from spark_cluster.monitoring.stack import (
    DEBIAN_USER,
    GRAFANA,
    PROMETHEUS,
    SERVICES,
    Service,
    digest,
    docker_run,
    unit,
    unit_path,
)
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.monitor import Params, adopted, files, removed, scraped, wanted
from spark_cluster.steps.view import View

_STOP_SECONDS = 30


@step(
    "monitor-services",
    "Start the monitoring's programs",
    Params,
    reads=(MONITOR, DOCKER, PORTS, SCRAPED),
    titles={"absent": "Stop the monitoring's programs"},
    affects=(PORTS, SCRAPED),
    timeout=300.0,
)
def run(view: View, params: Params) -> Assessment:
    if params.state == "absent":
        return _gone(view, params)
    fact = view.facts[MONITOR]
    services = wanted(view, params)
    names = [service.name for service in services]
    texts = files(view, params)
    in_containers = params.source == "images"
    # What is not wanted goes first: it may hold a port that is.
    changes = _remove_containers(fact, keep=names if in_containers else ())
    changes += _remove_units(fact, keep=() if in_containers else names)
    if GRAFANA in services and not fact.password:
        changes.append(Change("Grafana's admin password", "absent", "a random one", _password()))
    there, start = fact.units, _start_unit
    if in_containers:
        there, start = fact.containers, _start_container
    changes += [
        start(service, there.get(service.name), texts)
        for service in services
        if not _is_as_wanted(service, there.get(service.name), texts)
    ]
    return Assessment(changes=tuple(changes))


def _gone(view: View, params: Params) -> Assessment:
    """Programs first, then what they read and wrote: a container that is left goes on with both."""
    fact = view.facts[MONITOR]
    units = _remove_units(fact)
    if fact.docker_silent:
        return Assessment(changes=tuple(units)) if units else found(_unknown(view, params))
    changes = [*_remove_containers(fact), *units, *removed(fact.files)]
    if params.purge and fact.data:
        commands = f"rm -rf {quote(config.DATA)}\n"
        changes.append(Change(config.DATA, "what was collected", "gone", commands))
    return Assessment(changes=tuple(changes))


def _unknown(view: View, params: Params) -> Problem:
    fact, purge = view.facts[MONITOR], " --purge" if params.purge else ""
    ready = [service for service in SERVICES if service.name in fact.ready]
    seen = ", ".join(f"{service.name} answers on port {service.port}" for service in ready)
    return problem(
        "DOCKER001",
        f"docker says: {fact.docker_error}; whether our containers run is unknown"
        f"{f' ({seen})' if seen else ''}, and their files stay",
        f"On {view.name}: `sudo systemctl restart docker`, then `spark-cluster monitor down "
        f"--hosts {view.name}{purge}`.",
    )


def _is_as_wanted(service: Service, now: Running | None, texts: Mapping[str, str]) -> bool:
    return now is not None and now.runs and now.spec == digest(service, texts)


def _before(now: Running | None) -> str:
    if now is None:
        return "absent"
    return "with other settings" if now.runs else now.state


def _start_container(service: Service, now: Running | None, texts: Mapping[str, str]) -> Change:
    commands = f"docker rm --force {quote(service.container)} >/dev/null 2>&1 || true\n"
    commands += _data(service, str(service.uid))
    commands += f"{docker_run(service, digest(service, texts))} >/dev/null\n"
    return Change(f"container {service.container}", _before(now), "running", commands)


def _start_unit(service: Service, now: Running | None, texts: Mapping[str, str]) -> Change:
    text = unit(service, digest(service, texts))
    commands = _data(service, DEBIAN_USER)
    commands += write_file(unit_path(service), text, 0o644)
    commands += (
        f"systemctl daemon-reload\nsystemctl enable --quiet {service.unit}\n"
        f"systemctl restart {service.unit}\n"
    )
    return Change(f"unit {service.unit}", _before(now), "active", commands)


def _data(service: Service, owner: str) -> str:
    """The folder of what is collected; its owner differs between container and unit. The network
    guard may have made the folder above for root alone: the owner must get through."""
    if not service.data:
        return ""
    folder, above = quote(service.data), quote(config.DATA.rpartition("/")[0])
    return f"mkdir -p {folder}\nchmod a+x {above}\nchown -R {owner} {folder}\nchmod 750 {folder}\n"


def _password() -> str:
    """Made on the host, from the kernel's random numbers, for Grafana's user only."""
    path = quote(config.PASSWORD)
    return (
        f"mkdir -p {quote(config.DATA)}\n"
        f"(umask 077; head -c 24 /dev/urandom | base64 | tr '+/' '-_' > {path})\n"
        f"chown {GRAFANA.uid} {path}\nchmod 400 {path}\n"
    )


def _remove_containers(fact: MonitorFact, keep: Container[str] = ()) -> list[Change]:
    there = fact.containers.items()
    return [_remove_container(name, state) for name, state in there if name not in keep]


def _remove_units(fact: MonitorFact, keep: Container[str] = ()) -> list[Change]:
    there = [s for s in SERVICES if s.name in fact.units and s.name not in keep]
    return [_remove_unit(service, fact.units[service.name]) for service in there]


def _remove_container(name: str, now: Running) -> Change:
    container = next((s.container for s in SERVICES if s.name == name), f"spark-cluster-{name}")
    commands = (
        f"docker stop -t {_STOP_SECONDS} {quote(container)} >/dev/null || true\n"
        f"docker rm --force {quote(container)} >/dev/null\n"
    )
    return Change(f"container {container}", now.state, "gone", commands)


def _remove_unit(service: Service, now: Running) -> Change:
    commands = (
        f"systemctl disable --quiet --now {service.unit} || true\n"
        f"rm -f {unit_path(service)}\nsystemctl daemon-reload\n"
    )
    return Change(f"unit {service.unit}", now.state, "gone", commands)


# Whether they answer


@step(
    "monitor-ready",
    "Check that the monitoring answers",
    Params,
    reads=(MONITOR, DOCKER, PORTS, SCRAPED),
    titles={"absent": "Check that the monitoring has stopped"},
    wait=lambda params: float(params.seconds),
)
def ready(view: View, params: Params) -> Assessment:
    fact = view.facts[MONITOR]
    if params.state == "absent":
        if fact.docker_silent:
            return skip("what runs is unknown: docker does not answer")
        return Assessment(
            notes=("what was collected stays in " + config.DATA,) if fact.data else ()
        )
    services = wanted(view, params)
    silent = [service for service in services if service.name not in fact.ready]
    problems = tuple(
        problem(
            "MON003",
            f"{service.name} does not answer on port {service.port}",
            f"On {view.name}: {_log(service, params)}",
        )
        for service in silent
    )
    waiting = tuple(f"{service.name} to answer on port {service.port}" for service in silent)
    notes: list[str] = []
    if PROMETHEUS in services:
        health = {(t.job, t.address): t.health for t in view.facts[SCRAPED].targets}
        every = [
            health.get((job, target.address), "unknown")
            for job, targets in scraped(view, params).jobs.items()
            for target in targets
        ]
        if "unknown" in every:
            unread = every.count("unknown")
            waiting += (f"the first reading of {unread} of {count(len(every), 'target')}",)
        expected = len(every) - every.count("absent")
        notes.append(f"{every.count('up')} of {count(expected, 'target')} answer")
    notes += [f"{s.name} is used as it is" for s in SERVICES if adopted(view.facts, s)]
    return Assessment(problems=problems, waiting=waiting, notes=tuple(notes))


def _log(service: Service, params: Params) -> str:
    if params.source == "packages":
        return f"journalctl -u {service.unit}"
    return f"docker logs {service.container}"
