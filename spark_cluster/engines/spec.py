"""A deployment as data, and the docker commands that it means.

Everything that status, verify-rdma and teardown need later stands in the containers' labels, so
that they work from any machine without a state of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from spark_cluster.core.labels import LABEL, RESTARTS
from spark_cluster.core.secret import Secret
from spark_cluster.core.shell import quote

#: Labels that a container need not have to be the one that a spec means: the run that made it, the
#: hub's name of the model, which its command has, too, and what became of it later.
_NO_SETTINGS = (f"{LABEL}.run", f"{LABEL}.hub-model", RESTARTS)

#: Labels that not every container has: it gets them empty, lest its image's own count.
OPTIONAL = (
    *(f"{LABEL}.{name}" for name in ("api", "key", "options", "overrides", "profile")),
    RESTARTS,
)

#: The SSH user's home on the host; every script of ours starts by setting it (facts/probe.py).
HOME = "$SPARK_HOME"


#: In a mount's source: the ID that the image has on that host, twelve hex digits.
IMAGE_ID = "@image-id@"


@dataclass(frozen=True)
class ModelFiles:
    """A model that must be on the host: its folder in the Hugging Face cache, and the branch, tag
    or commit of it that is meant."""

    name: str
    folder: str
    revision: str


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
    """One rank's container. `secrets` names variables whose values stand nowhere in a spec."""

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
    entrypoint: str = ""
    secrets: tuple[str, ...] = ()
    security: tuple[str, ...] = ()

    @property
    def env_file(self) -> str:
        """Where docker reads the secrets, for the moment of its start; in memory only."""
        return f"/run/spark-cluster/{self.name}.env"

    @property
    def has_key(self) -> bool:
        """Whether the server asks for a key, which is in the container's environment."""
        return bool(self.labels.get(f"{LABEL}.key"))

    @property
    def digest(self) -> str:
        """Names this very spec, whichever run makes it: twelve hex digits."""
        fields = asdict(self)
        for name in (
            "entrypoint",
            "secrets",
            "security",
        ):  # a spec without them is what it was before them
            if not fields[name]:
                del fields[name]
        fields["labels"] = {k: v for k, v in self.labels.items() if k not in _NO_SETTINGS}
        text = json.dumps(fields, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ServeSpec:
    """A process started inside the head's container once all ranks are there. `name` is the part
    of its command line by which it is told from others: the first two words if not given."""

    host: str
    container: str
    command: tuple[str, ...]
    name: str = ""

    @property
    def title(self) -> str:
        return self.name or " ".join(self.command[:2])


@dataclass(frozen=True)
class Deployment:
    """A recipe on its hosts: everything that launch will make, as data.

    `asked` is what the command line called the recipe, `revision` the branch, tag or commit of
    `model`. `client_model` is the model's name in requests. `api` is a key of serving/apis.py.
    `health` is a command that succeeds inside the head's container while the server is well.
    `model_folder` is the model's folder in the Hugging Face cache, empty if the engine keeps its
    models itself; `downloads`: the engine may fetch what is not there. `secret_values` are those
    that the controller's environment has; the others are read from `secrets_file` on the node.
    `drafts` are models that the engine loads beside `model`. `image_digest` is what the image must
    be, if that is known. `swap` is what the host's must be: off or on.
    `ray_dashboard_port` is None for an engine without Ray; `needs_ssh`: its ranks reach each other
    by SSH.
    """

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
    client_model: str = ""
    api: str = "openai"
    health: tuple[str, ...] = ()
    model_folder: str = ""
    asked: str = ""
    revision: str = "main"
    downloads: bool = False
    download_gib: float = 0.0
    first_token_seconds: float = 180.0
    ray_dashboard_port: int | None = None
    needs_ssh: bool = False
    secret_values: Mapping[str, Secret] = field(default_factory=dict)
    secrets_file: str = ""
    drafts: tuple[ModelFiles, ...] = ()
    image_digest: str = ""
    swap: str = "off"

    def container(self, host: str) -> ContainerSpec:
        return next(spec for spec in self.containers if spec.host == host)


def host_path(path: str) -> str:
    """`path` as a shell word; `~/` is the SSH user's home even under sudo, IMAGE_ID the variable
    that docker_run sets."""
    before, found, after = path.partition(IMAGE_ID)
    if found:
        return f'{host_path(before)}"$_image"{quote(after)}'
    if path.startswith("~/"):
        return f'"{HOME}"/{quote(path[2:])}'
    return quote(path)


def docker_run(spec: ContainerSpec) -> str:
    """The `docker run` line of a spec; before it the image's ID, where a mount wants it."""
    line = _docker_run(spec)
    if not any(IMAGE_ID in mount.source for mount in spec.mounts):
        return line
    read = f"docker image inspect --format '{{{{.Id}}}}' {quote(spec.image)}"
    return f'_image=$({read}) || exit\n_image=$(echo "$_image" | cut -c 8-19)\n{line}'


def _docker_run(spec: ContainerSpec) -> str:
    words = ["docker", "run", "--detach", "--name", quote(spec.name)]
    if spec.entrypoint:
        words += ["--entrypoint", quote(spec.entrypoint)]
    if spec.gpus:
        words += ["--gpus", quote(spec.gpus)]
    words += ["--network", "host", "--ipc", "host"]
    if spec.shm_size:
        words += ["--shm-size", quote(spec.shm_size)]
    for device in spec.devices:
        words.append(f"--device={quote(device)}")
    for capability in spec.capabilities:
        words.append(f"--cap-add={quote(capability)}")
    for option in spec.security:
        words.append(f"--security-opt={quote(option)}")
    for limit, value in spec.ulimits.items():
        words += ["--ulimit", quote(f"{limit}={value}")]
    unset = {name: "" for name in OPTIONAL if name not in spec.labels}
    for key, value in {**spec.labels, f"{LABEL}.spec": spec.digest, **unset}.items():
        words += ["--label", quote(f"{key}={value}")]
    for key, value in spec.env.items():
        words += ["-e", quote(f"{key}={value}")]
    if spec.secrets:
        words += ["--env-file", quote(spec.env_file)]
    for mount in spec.mounts:
        suffix = ":ro" if mount.read_only else ""
        words += ["-v", f"{host_path(mount.source)}:{quote(mount.target + suffix)}"]
    words.append(quote(spec.image))
    words += [quote(word) for word in spec.command]
    return " ".join(words)


def docker_exec(serve: ServeSpec) -> str:
    """Start the process so that its output is in `docker logs`, between a mark of its beginning and
    one of its end (serving/starts.py): the container outlives its servers."""
    command = " ".join(quote(word) for word in serve.command)
    inner = (
        f'exec >/proc/1/fd/1 2>&1; echo "{LABEL}: {serve.title} begins"; '
        f'{command}; echo "{LABEL}: {serve.title} exited with $?"'
    )
    return f"docker exec --detach {quote(serve.container)} sh -c {quote(inner)}"
