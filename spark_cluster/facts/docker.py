"""Docker: whether it works, whether it gives containers the GPU, our containers, the image."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime

from spark_cluster.core.shell import ANSWER_SECONDS, ASK_DOCKER, quote
from spark_cluster.engines.spec import LABEL
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.docker_records import RECORDS
from spark_cluster.rdma.counters import number

#: What is said of a docker that hangs. The fact that finds it out leaves this in `$_docker_hangs`,
#: and those after it in the probe do not ask again.
NO_ANSWER = f"docker ps gave no answer within {ANSWER_SECONDS} s"


def log_of_this_start(
    container: str, *, tail: int | None = None, times: bool = False, seconds: int = ANSWER_SECONDS
) -> str:
    """Shell that prints what a container has said since it was last started: a log outlives
    `docker start`, and how an earlier start ended says nothing of this one.

    `container` is a word of shell, `times` puts docker's time before each line, `seconds` are what
    docker has for the log.
    """
    lines = (" --timestamps" if times else "") + (f" --tail {tail}" if tail is not None else "")
    return (
        f"_started=$({ASK_DOCKER} inspect --format '{{{{.State.StartedAt}}}}' {container} "
        f"2>/dev/null) &&\n"
        f'  timeout -k 2 {seconds} docker logs --since "$_started"{lines} {container} 2>&1'
    )


@dataclass(frozen=True)
class DockerFact:
    """`version` is the daemon's, empty if it does not answer. `gpu` names how containers get the
    GPU: runtime, cdi or hook; empty if they cannot. `in_group`: the SSH user may use docker."""

    version: str = ""
    gpu: str = ""
    in_group: bool = False
    error: str = ""


def _docker_script(_: ProbeContext) -> str:
    template = "{{.ServerVersion}} {{range $name, $runtime := .Runtimes}}{{$name}},{{end}}"
    return f"""\
echo "info $({ASK_DOCKER} info --format {quote(template)} 2>&1 | tail -n 1)"
ls /etc/cdi/nvidia*.yaml /var/run/cdi/nvidia*.yaml 2>/dev/null | sed 's/^/cdi /'
command -v nvidia-container-runtime-hook | sed 's/^/hook /'
echo "groups $(id -nG "$SPARK_USER")"
"""


def parse_docker(text: str) -> DockerFact:
    lines = dict(line.partition(" ")[::2] for line in text.splitlines())
    info = lines.get("info", "")
    version, _, runtimes = info.partition(" ")
    if not version[:1].isdigit():
        return DockerFact(error=info or f"docker info gave no answer within {ANSWER_SECONDS} s")
    gpu = "runtime" if "nvidia" in runtimes.split(",") else ""
    gpu = gpu or ("cdi" if "cdi" in lines else "") or ("hook" if "hook" in lines else "")
    groups = lines.get("groups", "").split()
    return DockerFact(version, gpu, "docker" in groups or "root" in groups)


DOCKER = Fact("docker", _docker_script, parse_docker)


@dataclass(frozen=True)
class Container:
    """One of ours. `state` is docker's word: running, exited, created, …; `processes` are the
    host's pids of what runs inside, with their arguments; `restarts` are docker's own."""

    name: str
    state: str
    exit_code: int
    started: str
    labels: dict[str, str]
    processes: tuple[tuple[int, str], ...] = ()
    restarts: int = 0

    def label(self, name: str) -> str:
        return self.labels.get(f"{LABEL}.{name}", "")

    @property
    def running(self) -> bool:
        return self.state == "running"

    def uptime(self, epoch: float | None) -> float | None:
        """Seconds since its start on a host whose clock says `epoch` (seconds since 1970); None
        where that cannot be known, or it does not run."""
        if epoch is None or not self.running:
            return None
        try:
            # Docker's UTC time has nanoseconds, which fromisoformat() does not read.
            started = datetime.fromisoformat(self.started[:19] + "+00:00").timestamp()
        except ValueError:
            return None
        return max(0.0, epoch - started)

    def runs(self, command: str) -> bool:
        """Whether a process whose arguments contain `command` runs inside."""
        return any(command in arguments for _, arguments in self.processes)


@dataclass(frozen=True)
class ContainersFact:
    """`error` is not empty when docker could not be asked. `containers` are then those of its
    records on disk: `running` with what the kernel says runs in them, or `ended`."""

    containers: tuple[Container, ...] = ()
    error: str = ""

    def named(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)


def _containers_script(_: ProbeContext) -> str:
    template = (
        "c {{.Name}} {{.State.Status}} {{.State.ExitCode}} {{.State.StartedAt}} "
        "{{json .Config.Labels}}\nr {{.RestartCount}}"
    )
    return f"""\
_why=${{_docker_hangs:-}}
if [ -n "$_why" ]; then
  :
elif _ids=$({ASK_DOCKER} ps --all --quiet --no-trunc --filter label={LABEL}.recipe 2>&1); then
  for _id in $_ids; do
    if _c=$({ASK_DOCKER} inspect --format {quote(template)} "$_id" 2>&1); then
      printf '%s\\n' "$_c"
      {ASK_DOCKER} top "$_id" -o pid,args 2>/dev/null | sed -n '2,$s/^/p /p'
    else
      case $_c in
        *"No such"*) ;;  # removed since
        *) _why=${{_c:-docker inspect gave no answer within {ANSWER_SECONDS} s}}; break ;;
      esac
    fi
  done
else
  _why=${{_ids:-{NO_ANSWER}}}
  [ -n "$_ids" ] || _docker_hangs=$_why
fi
if [ -n "$_why" ]; then
  echo "error "$_why
{RECORDS}fi
"""


def parse_containers(text: str) -> ContainersFact:
    found: list[Container] = []
    processes: list[list[tuple[int, str]]] = []
    restarts: list[int] = []
    error = ""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "error":
            error = rest or "docker ps failed"
            found, processes, restarts = [], [], []
        if kind == "p" and processes:
            pid, _, arguments = rest.strip().partition(" ")
            processes[-1].append((number(pid) or 0, arguments.strip()))
        if kind == "r" and restarts:
            restarts[-1] = number(rest.strip()) or 0
        words = rest.split(" ", 4)
        if kind != "c" or len(words) < 5:
            continue
        try:
            labels = json.loads(words[4])
            exit_code = int(words[2])
        except (ValueError, RecursionError):
            continue
        if isinstance(labels, dict):
            texts = {str(key): str(value) for key, value in labels.items()}
            found.append(Container(words[0].lstrip("/"), words[1], exit_code, words[3], texts))
            processes.append([])
            restarts.append(0)
    return ContainersFact(
        tuple(
            replace(container, processes=tuple(running), restarts=times)
            for container, running, times in zip(found, processes, restarts, strict=True)
        ),
        error,
    )


CONTAINERS = Fact("containers", _containers_script, parse_containers)


@dataclass(frozen=True)
class ImageFact:
    """The image's content id, empty if it is not there; its repo digests when it was pulled."""

    id: str = ""
    digests: tuple[str, ...] = field(default=())


def _image_script(context: ProbeContext) -> str:
    if context.deployment is None:
        return "true"
    image = quote(context.deployment.image)
    template = quote("{{.Id}} {{range .RepoDigests}}{{.}} {{end}}")
    return f"{ASK_DOCKER} image inspect --format {template} {image} 2>/dev/null || true"


def parse_image(text: str) -> ImageFact:
    words = text.split()
    if not words or not words[0].startswith("sha256:"):
        return ImageFact()
    return ImageFact(words[0], tuple(words[1:]))


IMAGE = Fact("image", _image_script, parse_image)
