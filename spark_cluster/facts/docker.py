"""Docker: whether it works, whether it gives containers the GPU, our containers, the image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from spark_cluster.core.framing import MARK, READ, blocks
from spark_cluster.core.labels import LABEL
from spark_cluster.core.ours import WHOSE
from spark_cluster.core.shell import ANSWER_SECONDS, ASK_DOCKER, quote
from spark_cluster.core.strangers_json import loads
from spark_cluster.core.units import number
from spark_cluster.facts.base import Fact, ProbeContext, always
from spark_cluster.facts.docker_gpu import TOOLKIT_FILE, access, toolkit
from spark_cluster.facts.docker_records import RECORDS
from spark_cluster.facts.labels import checked
from spark_cluster.facts.lines import Lines

#: Bytes of a log that are read, the newest: a line may have any length.
_LOG_BYTES = 8 * 1024**2

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
        f'  timeout -k 2 {seconds} docker logs --since "$_started"{lines} {container} 2>&1 |\n'
        f"  tail -c {_LOG_BYTES}"
    )


@dataclass(frozen=True)
class DockerFact:
    """`version` is the daemon's, empty if it does not answer. `gpu` names how `--gpus` gives
    containers the GPU: runtime, hook or cdi; empty if it cannot, and `no_gpu` then says why.
    `in_group`: the SSH user may use docker."""

    version: str = ""
    gpu: str = ""
    in_group: bool = False
    error: str = ""
    no_gpu: str = ""


#: Defines `_rows PATTERN QUESTION…`: those rows of docker's answer that match. Once docker could
#: not be asked it is asked no more, and `$_why` says why.
ROWS = f"""\
_why=${{_docker_hangs:-}}
_rows() {{
  [ -z "$_why" ] || return 0
  _only=$1
  shift
  if _said=$({ASK_DOCKER} "$@" 2>&1); then
    printf '%s\\n' "$_said" | sed -n "s/^{MARK}row //p" | grep -E "$_only"
  else
    _why=${{_said:-{NO_ANSWER}}}
    [ -n "$_said" ] || _docker_hangs=$_why
  fi
}}
"""

#: What begins a row's `--format`: a line break in a stranger's label begins none.
ROW = f'"{MARK}row "'

#: Prints `$_why`, if there is a reason, for `docker_error`.
SAY_WHY = "printf '%s\\n' \"$_why\" | grep -m 1 . | sed 's/^/docker-error /'\n"


def by_first_word(text: str) -> dict[str, list[list[str]]]:
    """The other words of each line, by the first."""
    rows: dict[str, list[list[str]]] = {}
    for first, *rest in filter(None, map(str.split, text.split("\n"))):
        rows.setdefault(first, []).append(rest)
    return rows


def docker_error(rows: dict[str, list[list[str]]]) -> str:
    """Why docker could not be asked; empty if it could."""
    return " ".join(rows["docker-error"][0]) or "docker ps failed" if "docker-error" in rows else ""


def _docker_script(_: ProbeContext) -> str:
    template = "{{.ServerVersion}} {{range $name, $runtime := .Runtimes}}{{$name}},{{end}}"
    return f"""\
echo "info $({ASK_DOCKER} info --format {quote(template)} 2>&1 | tail -n 1)"
ls /etc/cdi/nvidia*.yaml /var/run/cdi/nvidia*.yaml 2>/dev/null | sed 's/^/cdi /'
command -v nvidia-container-runtime-hook | sed 's/^/hook /'
sed -nE 's/^[[:space:]]*(\\[|mode|skip-mode-detection)/toolkit \\1/p' {TOOLKIT_FILE} 2>/dev/null
echo "groups $(id -nG "$SPARK_USER")"
"""


_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~_-]{0,63}", re.ASCII)


def parse_docker(text: str) -> DockerFact:
    every = [line.partition(" ")[::2] for line in text.split("\n")]
    lines = dict(every)
    info = lines.get("info", "")
    version, _, runtimes = info.partition(" ")
    if not _VERSION.fullmatch(version):
        return DockerFact(error=info or f"docker info gave no answer within {ANSWER_SECONDS} s")
    hook = "runtime" if "nvidia" in runtimes.split(",") else "hook" if "hook" in lines else ""
    settings = toolkit(rest for kind, rest in every if kind == "toolkit")
    gpu = access(version, hook, cdi="cdi" in lines, settings=settings)
    groups = lines.get("groups", "").split()
    in_group = "docker" in groups or "root" in groups
    return DockerFact(version, gpu.way, in_group, no_gpu=gpu.why)


DOCKER = Fact("docker", _docker_script, parse_docker)


@dataclass(frozen=True)
class Container:
    """One of ours. `state` is docker's word: running, exited, created, …; `labels` are those of
    ours that are what launch writes; `processes` are the host's pids of what runs inside, with
    their arguments; `restarts` are docker's own, and `id` is docker's."""

    name: str
    state: str
    exit_code: int
    started: str
    labels: dict[str, str]
    processes: tuple[tuple[int, str], ...] = ()
    restarts: int = 0
    id: str = ""

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
    records on disk: `running` with what the kernel says runs in them, or `ended`.

    `unread` says of each container with our label why nobody knows what it is; `strangers` are the
    names of those whose image brought the label.
    """

    containers: tuple[Container, ...] = ()
    error: str = ""
    unread: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()

    def named(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)


#: What `docker inspect` is asked for. JSON has no line break but in escapes: it is one line.
_INSPECT = (
    "{{.Name}} {{.State.Status}} {{.State.ExitCode}} {{.State.StartedAt}} "
    "{{json .Config.Labels}}\nr {{.RestartCount}}"
)


_CONTAINERS_SCRIPT = f"""\
{WHOSE}_why=${{_docker_hangs:-}}
if [ -n "$_why" ]; then
  :
elif _ids=$({ASK_DOCKER} ps --all --quiet --no-trunc --filter label={LABEL}.recipe 2>&1); then
  for _id in $_ids; do
    if _c=$({ASK_DOCKER} inspect --format {quote(_INSPECT)} "$_id" 2>&1); then
      case $_c in /*) ;; *) _c=$(printf '%s\n' "$_c" | tail -n 2) ;; esac  # after a warning
      _whose "$_id"
      printf '%s\n' "{MARK}c $_is $_id $_c"
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
  printf '%s\n' "{MARK}error $(printf '%s' "$_why" | tr '\n' ' ' | head -c 2000)"
{RECORDS}fi
"""

#: What docker and its records call the states of a container.
_STATES = frozenset(
    ["created", "running", "paused", "restarting", "removing", "exited", "dead", "ended"]
)
_NAME = re.compile(r"/?([a-zA-Z0-9][a-zA-Z0-9_.-]{0,254})", re.ASCII)
_TIME = re.compile(r"[0-9A-Za-z:.+-]{1,40}", re.ASCII)
_EXIT = re.compile(r"-?[0-9]{1,10}", re.ASCII)


def _container(rest: str, identity: str) -> Container | None:
    """The container of `NAME STATE EXIT STARTED LABELS`; None if anything is not as docker has
    it."""
    words = rest.split(" ", 4)
    if len(words) < 5:
        return None
    name, (state, exit_code, started, labels) = _NAME.fullmatch(words[0]), words[1:]
    if not name or state not in _STATES or not _EXIT.fullmatch(exit_code):
        return None
    found = loads(labels)
    if not _TIME.fullmatch(started) or not isinstance(found, dict):
        return None
    return Container(name[1], state, int(exit_code), started, checked(found), id=identity)


def _told(rest: str, identity: str) -> str:
    """What to call a container that is not known to be ours."""
    found = _NAME.fullmatch(rest.partition(" ")[0])
    return f"{found[1]} ({identity[:12]})" if found else identity[:12]


def parse_containers(text: str) -> ContainersFact:
    _, failed, text = f"\n{text}".rpartition(f"\n{READ}error")
    before = text.partition(f"\n{READ}c ")[0]
    error = next(filter(None, map(str.strip, before.split("\n"))), "")
    found: list[Container] = []
    unread: list[str] = []
    strangers: list[str] = []
    for header, inside in blocks(text, f"{READ}c"):
        whose, identity, said = (*header.split(" ", 2), "", "", "")[:3]
        container = _container(said, identity)
        if whose == "theirs":
            strangers.append(_told(said, identity))
        elif container is None:
            unread.append(f"docker lists {_told(said, identity)}, and it could not be read")
        elif whose != "ours":
            unread.append(f"docker does not tell whether {_told(said, identity)} is ours")
        else:
            lines = Lines(inside)
            processes = tuple(_processes(lines.every("p")))
            restarts = lines.number("r") or 0
            found.append(replace(container, processes=processes, restarts=restarts))
    error = error or ("docker ps failed" if failed else "")
    return ContainersFact(tuple(found), error, tuple(unread), tuple(strangers))


def _processes(lines: list[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        pid, _, arguments = line.strip().partition(" ")
        if process := number(pid):
            yield process, arguments.strip()


CONTAINERS = Fact("containers", always(_CONTAINERS_SCRIPT), parse_containers)


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
