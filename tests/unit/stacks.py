"""Fake hosts with the monitoring and the services: bare, or with all of it running."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import replace

from spark_cluster.monitoring import config, stack
from spark_cluster.monitoring.targets import targets
from spark_cluster.services.compose import digest_of
from spark_cluster.services.table import SERVICES
from spark_cluster.steps.monitor import Params, files, wanted

from . import world
from .world import Spark

SERVER = "spark-2"


def monitored(host: str, server: str = SERVER, hosts: Collection[str] = ()) -> str:
    """What the fact `monitor` prints on a host on which all of it runs, after a run over `hosts`
    (all by default)."""
    every = {name: world.facts(name) for name in hosts or world.inventory().hosts}
    view, params = replace(world.view(host), all_facts=every), Params(host=server)
    texts = files(view, params)
    lines = [f"file {config.digest(text)}  {path}" for path, text in texts.items()]
    for service in wanted(view, params):
        lines += [
            f"image {service.image}",
            f"container {service.name} {stack.digest(service, texts)} running",
            f"ready {service.name} 200",
        ]
    return "\n".join([*lines, "password", "data"]) + "\n"


def scraped(*down: str, engines: Collection[str] = (SERVER,)) -> str:
    """What Prometheus on the server says; `down` are hosts whose node exporter does not answer."""
    rows = []
    for job, entries in targets(world.inventory(), SERVER, engine_port=8000).jobs.items():
        for target in entries:
            labels = {"job": job, "instance": target.address, **dict(target.labels)}
            error = "no route to host" if job == "node" and labels["host"] in down else ""
            if job == "vllm" and labels["host"] not in engines:
                error = "connect: connection refused"
            rows.append({"labels": labels, "health": "down" if error else "up", "lastError": error})
    alerts = [
        {
            "labels": {"alertname": "HostAway", "severity": "critical", "host": host},
            "annotations": {"summary": f"{host}: node_exporter does not answer"},
            "state": "firing",
        }
        for host in down
    ]
    return "".join(
        json.dumps({"status": "success", "data": data}) + "\n"
        for data in ({"activeTargets": rows}, {"alerts": alerts})
    )


def bare_hosts(*run: str) -> list[Spark]:
    """The hosts of the run (all by default) on which nothing runs, until it is started."""
    hosts = []
    for name in run or world.inventory().hosts:
        host = Spark(name)
        there = monitored(name, hosts=run)
        files_only = "\n".join(
            line for line in there.splitlines() if line.startswith(("file", "image"))
        )
        images = "\n".join(li for li in files_only.splitlines() if li.startswith("image"))
        host.effect("docker pull", monitor=images)
        host.effect(f"{config.FOLDER}/dcgm.csv", monitor=files_only)
        host.effect("docker run --detach", monitor=there, scraped=scraped("spark-3"))
        hosts.append(host)
    return hosts


def up_hosts() -> list[Spark]:
    return [
        Spark(name, {"monitor": monitored(name), "scraped": scraped("spark-3")})
        if name == SERVER
        else Spark(name, {"monitor": monitored(name)})
        for name in world.inventory().hosts
    ]


NO_DOCKER = "docker-error Cannot connect to the Docker daemon\n"


# services

STOPPED = "compose 2.40.3\nlangfuse file 00\nlangfuse ours\nlangfuse data langfuse\n"


def serving(name: str) -> str:
    """What the fact `services` prints where the service runs as wanted."""
    service = SERVICES[name]
    text = service.render(service.listen(""), "spark-1")
    lines = [
        "compose 2.40.3",
        "venv yes",
        f"{name} file {hashlib.sha256(text.encode()).hexdigest()}",
        f"{name} ours",
        f"{name} mode 600",
        *(f"{name} secret {secret.name}" for secret in service.secrets),
        *(f"{name} part {part} running {digest_of(text)}" for part in service.parts),
        f"{name} answer 200",
        f"{name} data ours",
    ]
    if service.kind == "unit":
        lines += [f"{name} unit active", f"{name} version arize_phoenix-20.26.1"]
    return "\n".join(lines) + "\n"
