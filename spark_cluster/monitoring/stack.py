"""The programs of the monitoring, and how each is run: in a container, or as a systemd unit of
Debian's program with the same arguments and the same files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from spark_cluster.core.labels import LABEL
from spark_cluster.core.shell import quote
from spark_cluster.engines.spec import Mount
from spark_cluster.monitoring import config, ports

#: Our containers carry it, and not `spark-cluster.recipe`: a teardown of models passes them over.
MONITOR_LABEL = f"{LABEL}.monitor"
SPEC_LABEL = f"{LABEL}.monitor-spec"

#: Where the program comes from.
Source = Literal["images", "packages"]

UNITS = "/etc/systemd/system"

#: The user that Debian's packages make for their programs.
DEBIAN_USER = "prometheus"

_KEEP_DAYS = 30
_KEEP_SIZE = "8GB"


@dataclass(frozen=True)
class Service:
    """`ready` is a path that answers 200 when it works. `program` of the apt package `package` is
    the same without a container; there is none if it is empty. `data` is its folder, owned by `uid`
    in the container. `reads` are files that it reads at its start only: when one changes, it is
    started anew. `busy_name` is what `ss` calls it. `everywhere`: on every host, not only where
    Prometheus is. `memory` is the most that it may take, which the GPU then lacks.
    """

    name: str
    port: int
    ready: str
    image: str
    arguments: tuple[str, ...] = ()
    in_container: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    gpus: bool = False
    memory: str = "512M"
    program: str = ""
    package: str = ""
    data: str = ""
    uid: int = 0
    reads: tuple[str, ...] = ()
    busy_name: str = ""
    everywhere: bool = False

    @property
    def container(self) -> str:
        return f"{LABEL}-{self.name}"

    @property
    def unit(self) -> str:
        return f"{LABEL}-{self.name}.service"


_CONFIG = Mount(config.FOLDER, config.FOLDER, read_only=True)

PROMETHEUS = Service(
    name="prometheus",
    port=ports.PROMETHEUS,
    ready="/-/ready",
    image="docker.io/prom/prometheus:v3.5.0",
    arguments=(
        f"--config.file={config.PROMETHEUS}",
        f"--storage.tsdb.path={config.DATA}/prometheus",
        f"--storage.tsdb.retention.time={_KEEP_DAYS}d",
        f"--storage.tsdb.retention.size={_KEEP_SIZE}",
        f"--web.listen-address=:{ports.PROMETHEUS}",
    ),
    mounts=(_CONFIG, Mount(f"{config.DATA}/prometheus", f"{config.DATA}/prometheus")),
    program="prometheus",
    package="prometheus",
    memory="1G",
    data=f"{config.DATA}/prometheus",
    uid=65534,
    reads=(config.PROMETHEUS, config.RULES),
)

GRAFANA = Service(
    name="grafana",
    port=ports.GRAFANA,
    ready="/api/health",
    image="docker.io/grafana/grafana:12.1.1",
    env={
        "GF_SERVER_HTTP_PORT": str(ports.GRAFANA),
        "GF_PATHS_PROVISIONING": f"{config.GRAFANA}/provisioning",
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": config.DASHBOARD,
        "GF_SECURITY_ADMIN_PASSWORD__FILE": config.PASSWORD,
        "GF_USERS_ALLOW_SIGN_UP": "false",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    },
    mounts=(
        _CONFIG,
        Mount(config.PASSWORD, config.PASSWORD, read_only=True),
        Mount(f"{config.DATA}/grafana", "/var/lib/grafana"),
    ),
    data=f"{config.DATA}/grafana",
    uid=472,
    reads=(config.DATASOURCE, config.PROVIDER),
)

#: Debian's asks systemd for every unit, which the image's does not, and both read each interface's
#: files one by one, where one netlink message tells all: 35 s and 12 s on the lab's emulated nodes.
_FEWER_READS = ("--no-collector.systemd", "--collector.netclass.netlink")

NODE_EXPORTER = Service(
    name="node-exporter",
    port=ports.NODE_EXPORTER,
    ready="/metrics",
    image="docker.io/prom/node-exporter:v1.9.1",
    arguments=(f"--web.listen-address=:{ports.NODE_EXPORTER}", *_FEWER_READS),
    in_container=("--path.procfs=/host/proc", "--path.sysfs=/host/sys", "--path.rootfs=/host"),
    mounts=(Mount("/", "/host", read_only=True),),
    program="prometheus-node-exporter",
    package="prometheus-node-exporter",
    busy_name="node",  # node_exporter, prometheus-node-exporter
    everywhere=True,
)

DCGM_EXPORTER = Service(
    name="dcgm-exporter",
    port=ports.DCGM_EXPORTER,
    ready="/metrics",
    image="nvcr.io/nvidia/k8s/dcgm-exporter:4.4.1-4.6.0-ubuntu22.04",
    arguments=(f"--collectors={config.DCGM}", f"--address=:{ports.DCGM_EXPORTER}"),
    mounts=(_CONFIG,),
    gpus=True,
    reads=(config.DCGM,),
    busy_name="dcgm",
    everywhere=True,
)

SERVICES = (PROMETHEUS, GRAFANA, NODE_EXPORTER, DCGM_EXPORTER)


def chosen(source: Source, *, is_server: bool) -> tuple[Service, ...]:
    """What runs on a host. Without images neither Grafana nor dcgm-exporter is to be had."""
    return tuple(
        service
        for service in SERVICES
        if (is_server or service.everywhere) and (source == "images" or service.program)
    )


def digest(service: Service, files: Mapping[str, str]) -> str:
    """Names this service with these files: twelve hex digits."""
    parts = [repr(service), *(files.get(path, "") for path in service.reads)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def docker_run(service: Service, spec: str) -> str:
    """The `docker run` line; `spec` is its digest. It comes back after a reboot."""
    words = ["docker", "run", "--detach", "--name", service.container]
    words += ["--restart", "unless-stopped", "--network", "host", "--memory", service.memory]
    words += ["--gpus", "all"] if service.gpus else []
    for label, value in ((MONITOR_LABEL, service.name), (SPEC_LABEL, spec)):
        words += ["--label", f"{label}={value}"]
    for key, value in service.env.items():
        words += ["--env", f"{key}={value}"]
    for mount in service.mounts:
        suffix = ":ro" if mount.read_only else ""
        words += ["--volume", f"{mount.source}:{mount.target}{suffix}"]
    words += [service.image, *service.arguments, *service.in_container]
    return " ".join(quote(word) for word in words)


def unit(service: Service, spec: str) -> str:
    """The systemd unit that runs the Debian program with the same arguments."""
    command = " ".join((f"/usr/bin/{service.program}", *service.arguments))
    return f"""\
# Written by `spark-cluster monitor up --packages`; `spark-cluster monitor down` removes it.
# {SPEC_LABEL}={spec}
[Unit]
Description=spark-cluster: {service.name}
After=network-online.target
Wants=network-online.target

[Service]
User={DEBIAN_USER}
ExecStart={command}
Restart=always
RestartSec=5
MemoryMax={service.memory}
NoNewPrivileges=yes
ProtectHome=yes

[Install]
WantedBy=multi-user.target
"""


def unit_path(service: Service) -> str:
    return f"{UNITS}/{service.unit}"
