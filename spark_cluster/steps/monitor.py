"""Prometheus, Grafana and their exporters: programs, ports, files. steps/monitor_services.py starts
them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from spark_cluster.core.shell import quote, write_file
from spark_cluster.core.step import Assessment, Change, Problem, found, skip
from spark_cluster.core.units import count
from spark_cluster.document import Document
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import DOCKER
from spark_cluster.facts.monitor import MONITOR, SCRAPED
from spark_cluster.facts.storage import PORTS
from spark_cluster.monitoring import config
from spark_cluster.monitoring.stack import (
    DCGM_EXPORTER,
    GRAFANA,
    NODE_EXPORTER,
    PROMETHEUS,
    Service,
    Source,
    chosen,
)
from spark_cluster.monitoring.targets import Targets, targets
from spark_cluster.steps.base import problem, step
from spark_cluster.steps.view import View

Name = Literal["prometheus", "grafana", "node-exporter", "dcgm-exporter"]


def _address(text: str) -> str:
    """Empty, or an address and a port. Raises ValueError."""
    match = re.fullmatch(r"[^\s:/]+:([0-9]{1,5})", text)
    if text and (match is None or not 0 < int(match[1]) < 65536):
        raise ValueError("no address and port")
    return text


class Params(Document):
    """The steps of one run share them. `host` has Prometheus and Grafana, every other host its
    exporters only; `without` leaves programs out. `engine_port` is the recipe's, `watcher` is
    `address:port` of our exporter (this host's own if empty). `purge` drops what was collected.
    `seconds` is the time to get ready."""

    state: Literal["running", "absent"] = "running"
    host: str = ""
    source: Source = "images"
    without: tuple[Name, ...] = ()
    engine_port: int = Field(default=8000, ge=1, le=65535)
    watcher: Annotated[str, AfterValidator(_address)] = ""
    purge: bool = False
    seconds: int = Field(default=120, ge=0, le=3600)


def wanted(view: View, params: Params) -> tuple[Service, ...]:
    """What is to run on this host, and is ours to run."""
    if params.state == "absent":
        return ()
    return tuple(
        service
        for service in chosen(params.source, is_server=view.name == params.host)
        if service.name not in params.without
        and not adopted(view.facts, service)
        and not (service.gpus and not view.facts[DOCKER].gpu)
    )


def adopted(facts: Facts, service: Service) -> bool:
    """Whether somebody else runs that exporter there already: it is used as it is."""
    if not service.busy_name or facts[MONITOR].runs(service.name):
        return False
    return service.busy_name in facts[PORTS].listening.get(service.port, "")


def scraped(view: View, params: Params) -> Targets:
    """What the Prometheus on this host is to scrape."""
    dcgm = params.source == "images" and DCGM_EXPORTER.name not in params.without
    return targets(
        view.inventory,
        view.name,
        engine_port=params.engine_port,
        watcher=params.watcher,
        node=[name for name in view.inventory.hosts if _has_node_exporter(view, params, name)],
        dcgm=[name for name in view.inventory.hosts if dcgm and _may_have_gpu(view, name)],
    )


def _may_have_gpu(view: View, name: str) -> bool:
    """Whether containers of that host get the GPU; a host that is not part of the run may."""
    facts = view.all_facts.get(name)
    return facts is None or DOCKER not in facts or bool(facts[DOCKER].gpu)


def _has_node_exporter(view: View, params: Params, name: str) -> bool:
    """Whether one runs there when this run is over; a host that is not part of the run has one if
    Prometheus scrapes it by now."""
    facts = view.all_facts.get(name)
    if facts is None or MONITOR not in facts:
        return any((t.job, t.host) == ("node", name) for t in view.facts[SCRAPED].targets)
    return NODE_EXPORTER.name not in params.without or adopted(facts, NODE_EXPORTER)


def files(view: View, params: Params) -> dict[str, str]:
    """The configuration files that are to be on this host."""
    services = wanted(view, params)
    texts = config.exporter_files(dcgm=DCGM_EXPORTER in services)
    if params.state == "running" and view.name == params.host:
        texts |= config.server_files(scraped(view, params), grafana=GRAFANA in services)
    return texts


# The steps


@step(
    "monitor-programs",
    "Install the monitoring's programs",
    Params,
    reads=(MONITOR, DOCKER, PORTS),
    timeout=1200.0,
)
def programs(view: View, params: Params) -> Assessment:
    if params.state == "absent":
        return skip("nothing to fetch")
    fact = view.facts[MONITOR]
    services = wanted(view, params)
    if params.source == "packages":
        missing = [s for s in services if s.program not in fact.programs]
        return found(
            *(
                problem("MON001", f"{service.program} is not on {view.name}",
                        f"On {view.name}: apt-get install {service.package}")
                for service in missing
            ),
            notes=tuple(f"/usr/bin/{service.program}" for service in services),
        )  # fmt: skip
    if services and fact.docker_error:
        return found(problem("DOCKER001", f"docker says: {fact.docker_error}"))
    return Assessment(
        changes=tuple(
            Change(f"image {service.image}", "absent", "there", _pull(service))
            for service in services
            if service.image not in fact.images
        )
    )


def _pull(service: Service) -> str:
    hint = (
        f"{service.image} cannot be had here. Copy it from another machine with docker save and "
        f"docker load, go --without {service.name}, or run Debian's programs with --packages"
    )
    return f"docker pull --quiet {quote(service.image)} || {{ echo {quote(hint)} >&2; exit 1; }}\n"


@step("monitor-ports", "Check that the monitoring's ports are free", Params, reads=(MONITOR, PORTS))
def ports_free(view: View, params: Params) -> Assessment:
    if params.state == "absent":
        return skip("nothing to start")
    listening = view.facts[PORTS].listening
    if not listening:
        return found(problem("HOST003", "ss lists no port at all, not even sshd's"))
    problems: list[Problem] = []
    notes: list[str] = []
    for service in chosen(params.source, is_server=view.name == params.host):
        if service.name in params.without:
            continue
        who = listening.get(service.port)
        if adopted(view.facts, service):
            notes.append(f"port {service.port} is served by {who}: used as it is")
        elif who is not None and not view.facts[MONITOR].runs(service.name):
            what = f"{service.name} needs port {service.port}, in use by {who or 'another process'}"
            remedy = None
            if service is PROMETHEUS and '"prometheus"' in who:
                remedy = f"On {view.name}: systemctl disable --now prometheus (Debian's own unit)"
            problems.append(problem("MON002", what, remedy))
    return found(*problems, notes=tuple(notes))


@step(
    "monitor-files",
    "Write the monitoring's configuration",
    Params,
    reads=(MONITOR, DOCKER, PORTS, SCRAPED),
    titles={"absent": "Remove the monitoring's configuration"},
)
def write_files(view: View, params: Params) -> Assessment:
    if params.state == "absent":
        return skip("the files go after the programs that read them")
    there = view.facts[MONITOR].files
    texts = files(view, params)
    changes = [
        Change(path, "another content" if path in there else "absent", "written",
               write_file(path, text, 0o644))
        for path, text in texts.items()
        if there.get(path) != config.digest(text)
    ]  # fmt: skip
    changes += removed(set(there) - set(texts))
    return Assessment(changes=tuple(changes), notes=_ways(view, params) if texts else ())


def removed(stale: Collection[str]) -> list[Change]:
    """The removal of these files, and of the folders that they leave empty."""
    if not stale:
        return []
    commands = f"rm -f {' '.join(quote(path) for path in sorted(stale))}\n"
    commands += f"find {config.FOLDER} -type d -empty -delete\n"
    return [Change(config.FOLDER, count(len(stale), "old file"), "removed", commands)]


def _ways(view: View, params: Params) -> tuple[str, ...]:
    """What a person should know of how the targets are reached."""
    if view.name != params.host:
        return ()
    seen = scraped(view, params)
    notes = [
        f"{name} is not scraped: the inventory knows no way from {view.name}"
        for name in seen.unreached
    ]
    notes += [
        f"{name} is scraped by its SSH name, which {view.name} must resolve"
        for name in seen.by_name
    ]
    return tuple(notes)
