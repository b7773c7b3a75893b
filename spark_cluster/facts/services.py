"""The observability services on a host: files, secrets by name, containers or unit, the answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.shell import ASK_DOCKER, quote
from spark_cluster.engines.spec import host_path
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.docker import ROW, ROWS, SAY_WHY, by_first_word, docker_error
from spark_cluster.services.compose import LABEL, MARK
from spark_cluster.services.service import FOLDER_MARK, Service
from spark_cluster.services.table import SERVICES

_CURL = "curl -s --noproxy '*' -m 5 -o /dev/null -w '%{http_code}'"

#: Runs a command as the SSH user with their systemd: root's scripts have neither.
AS_USER = """\
_uid=$(id -u "$SPARK_USER")
_user() {
  runuser -u "$SPARK_USER" -- env HOME="$SPARK_HOME" XDG_RUNTIME_DIR="/run/user/$_uid" \\
    DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$_uid/bus" "$@"
}
"""


@dataclass(frozen=True)
class Part:
    """A container of the service: docker's word for its state, the digest of its compose file
    (empty: it is not ours)."""

    state: str
    digest: str


@dataclass(frozen=True)
class ServiceFact:
    """`digest` is the sha256 of the main file, empty if there is none; `ours`: it has our mark.
    `secrets` are the names that have a value. `data` is kept in docker's volumes or in the folder,
    with our mark on them; `other_data` is there without it. `unit` is systemd's word, `stale`: it
    runs from an older file; `version` is what its virtual environment has. `answer` is the HTTP
    status, 0 for none."""

    digest: str = ""
    ours: bool = False
    secrets: frozenset[str] = frozenset()
    mode: str = ""
    parts: dict[str, Part] = field(default_factory=dict)
    data: bool = False
    other_data: bool = False
    unit: str = ""
    stale: bool = False
    version: str = ""
    answer: int = 0

    @property
    def foreign(self) -> bool:
        """Somebody else's file, unit or containers of that name."""
        other = any(not part.digest for part in self.parts.values())
        return other or ((bool(self.digest) or self._unit_runs) and not self.ours)

    @property
    def present(self) -> bool:
        """Something of ours is here, running or kept."""
        made = any(part.digest for part in self.parts.values())
        return not self.foreign and (self.ours or self.data or made)

    @property
    def runs(self) -> bool:
        states = [part.state for part in self.parts.values()]
        return self._unit_runs or "running" in states

    @property
    def _unit_runs(self) -> bool:
        return self.unit in ("active", "activating")


@dataclass(frozen=True)
class ServicesFact:
    """`compose` is the version of `docker compose`, empty without it; `venv`: python3 can make a
    virtual environment. `docker_error` is not empty when docker is there and could not be asked:
    of containers and volumes nothing is known then."""

    services: dict[str, ServiceFact] = field(default_factory=dict)
    compose: str = ""
    venv: bool = False
    docker_error: str = ""

    def unknown(self, service: Service) -> str:
        """Why nothing is known of this service, in docker's words; empty if it is known."""
        return self.docker_error if service.kind == "compose" else ""


def _script(_: ProbeContext) -> str:
    lines = [
        AS_USER.rstrip(),
        _docker().rstrip(),
        "python3 -c 'import ensurepip, venv' 2>/dev/null && echo 'venv yes'",
    ]
    for service in SERVICES.values():
        lines += _lines(service)
    return "\n".join([*lines, "true"])


def _docker() -> str:
    """Two questions for the containers and the volumes of all services."""
    names = "|".join(name for name, service in SERVICES.items() if service.kind == "compose")
    project = "com.docker.compose.project"
    part = f'{{{{.Label "com.docker.compose.service"}}}} {{{{.State}}}} {{{{.Label "{LABEL}"}}}}'
    parts = quote(f'{{{{.Label "{project}"}}}} part {part}')
    volumes = quote(f'{{{{.Label "{project}"}}}} data {{{{.Label "{LABEL}"}}}}')
    return f"""\
{ROWS}if command -v docker >/dev/null; then
  echo "compose $({ASK_DOCKER} compose version --short 2>/dev/null)"
  _rows '^({names}) ' ps --all --filter label={project} --format {ROW}{parts}
  _rows '^({names}) ' volume ls --filter label={project} --format {ROW}{volumes}
  {SAY_WHY}fi
"""


def _lines(service: Service) -> list[str]:
    name, main = service.name, host_path(service.main_file)
    secrets = host_path(service.env_file)
    lines = [
        f"if [ -e {main} ]; then echo \"{name} file $(sha256sum {main} | cut -d' ' -f1)\"; "
        f"grep -qF {quote(MARK)} {main} && echo '{name} ours'; fi",
        f'if [ -e {secrets} ]; then echo "{name} mode $(stat -c %a {secrets})"; '
        f"sed -n 's/^\\([A-Z][A-Z0-9_]*\\)=..*$/{name} secret \\1/p' {secrets}; fi",
        f'echo "{name} answer $({_CURL} http://127.0.0.1:{service.port}{service.health})"',
    ]
    if service.kind == "compose":
        return lines
    folder = host_path(service.folder)
    installed = f"lib/python3*/site-packages/{service.package.replace('-', '_')}-*.dist-info"
    return [
        *lines,
        f'echo "{name} unit $(_user systemctl --user is-active {name} 2>/dev/null)"',
        f'[ "$(_user systemctl --user show -p NeedDaemonReload --value {name} 2>/dev/null)" '
        f"!= yes ] || echo '{name} stale'",
        f"for _d in {host_path(service.venv)}/{installed}; do "
        f'[ -d "$_d" ] && echo "{name} version $(basename "$_d" .dist-info)"; done',
        f"if [ -e {folder}/{FOLDER_MARK} ]; then echo '{name} data ours'; "
        f"elif [ -d {folder} ]; then echo '{name} data'; fi",
    ]


def parse(text: str) -> ServicesFact:
    rows = by_first_word(text)
    compose = next((row[0] for row in rows.get("compose", ()) if row), "")
    services = {name: _service(rows.get(name, [])) for name in SERVICES}
    return ServicesFact(services, compose, ["yes"] in rows.get("venv", []), docker_error(rows))


def _service(rows: list[list[str]]) -> ServiceFact:
    values: dict[str, str] = {}
    parts: dict[str, Part] = {}
    secrets: set[str] = set()
    marked: set[bool] = set()
    for kind, *rest in (row for row in rows if row):
        if kind == "part" and len(rest) >= 2:
            parts[rest[0]] = Part(rest[1], rest[2] if len(rest) > 2 else "")
        elif kind == "secret" and rest:
            secrets.add(rest[0])
        elif kind == "data":
            marked.add(bool(rest))
        else:
            values[kind] = rest[0] if rest else "yes"
    answer = values.get("answer", "")
    return ServiceFact(
        digest=values.get("file", ""),
        ours="ours" in values,
        secrets=frozenset(secrets),
        mode=values.get("mode", ""),
        parts=parts,
        data=True in marked,
        other_data=False in marked,
        unit=values.get("unit", "") if values.get("unit") != "yes" else "",
        stale="stale" in values,
        version=values.get("version", "").rpartition("-")[2],
        answer=int(answer) if answer.isascii() and answer.isdigit() and len(answer) == 3 else 0,
    )


OBSERVABILITY = Fact("services", _script, parse)
