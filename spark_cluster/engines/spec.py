"""A deployment as data, and the docker commands that it means.

Everything that status, verify-rdma and teardown need later stands in the containers' labels, so
that they work from any machine without a state of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from spark_cluster.core.shell import quote

LABEL = "spark-cluster"

#: The SSH user's home on the host; every script of ours starts by setting it (facts/probe.py).
HOME = "$SPARK_HOME"


@dataclass(frozen=True)
class Mount:
    """A bind mount; a source that starts with `~/` is in the SSH user's home."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class HostFile:
    """A file that must be on the host before the container starts; its path names its content."""

    path: str
    content: str


@dataclass(frozen=True)
class ContainerSpec:
    """One rank's container."""

    host: str
    rank: int
    role: str
    name: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    labels: Mapping[str, str]
    mounts: tuple[Mount, ...] = ()
    devices: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    ulimits: Mapping[str, str] = field(default_factory=dict)
    shm_size: str = ""
    gpus: str = "all"

    @property
    def digest(self) -> str:
        """Names this very spec, whichever run makes it: twelve hex digits."""
        fields = asdict(self)
        fields["labels"] = {k: v for k, v in self.labels.items() if k != f"{LABEL}.run"}
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ServeSpec:
    """A process started inside the head's container once all ranks have joined."""

    host: str
    container: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Deployment:
    """A recipe on its hosts: everything that launch will make, as data."""

    recipe: str
    model: str
    image: str
    engine: str
    head: str
    hosts: tuple[str, ...]
    containers: tuple[ContainerSpec, ...]
    serve: ServeSpec | None
    port: int
    ports: Mapping[str, tuple[int, ...]]
    files: tuple[HostFile, ...]
    addresses: Mapping[str, str]
    devices: Mapping[str, tuple[str, ...]]
    model_cache: str
    memory_gib: float
    disk_gib: float
    ready_seconds: float
    bytes_per_token: float | None
    ray_dashboard_port: int = 8265

    def container(self, host: str) -> ContainerSpec:
        return next(spec for spec in self.containers if spec.host == host)


def host_path(path: str) -> str:
    """`path` as a shell word; `~/` is the SSH user's home even under sudo."""
    if path.startswith("~/"):
        return f'"{HOME}"/{quote(path[2:])}'
    return quote(path)


def docker_run(spec: ContainerSpec) -> str:
    """The `docker run` line of a spec."""
    words = ["docker", "run", "--detach", "--name", quote(spec.name)]
    if spec.gpus:
        words += ["--gpus", quote(spec.gpus)]
    words += ["--network", "host", "--ipc", "host"]
    if spec.shm_size:
        words += ["--shm-size", quote(spec.shm_size)]
    for device in spec.devices:
        words.append(f"--device={quote(device)}")
    for capability in spec.capabilities:
        words.append(f"--cap-add={quote(capability)}")
    for limit, value in spec.ulimits.items():
        words += ["--ulimit", quote(f"{limit}={value}")]
    for key, value in {**spec.labels, f"{LABEL}.spec": spec.digest}.items():
        words += ["--label", quote(f"{key}={value}")]
    for key, value in spec.env.items():
        words += ["-e", quote(f"{key}={value}")]
    for mount in spec.mounts:
        suffix = ":ro" if mount.read_only else ""
        words += ["-v", f"{host_path(mount.source)}:{quote(mount.target + suffix)}"]
    words.append(quote(spec.image))
    words += [quote(word) for word in spec.command]
    return " ".join(words)


def docker_exec(serve: ServeSpec) -> str:
    """Start the process so that its output is in `docker logs` and its end is written there."""
    command = " ".join(quote(word) for word in serve.command)
    inner = (
        f"{command} >/proc/1/fd/1 2>&1; "
        f'echo "{LABEL}: {serve.command[0]} {serve.command[1]} exited with $?" >/proc/1/fd/1'
    )
    return f"docker exec --detach {quote(serve.container)} sh -c {quote(inner)}"
