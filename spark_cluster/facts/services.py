"""The observability services on a host: files, secrets by name, containers or unit, the answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.shell import quote
from spark_cluster.engines.spec import host_path
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.services.phoenix import VENV
from spark_cluster.services.service import LABEL, MARK, Service
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
    `secrets` are the names that have a value. `volumes`: data is kept in docker's volumes or in the
    folder. `unit` is systemd's word, `stale`: it runs from an older file;
    `version` is what its virtual environment has. `answer` is the
    HTTP status, 0 for none."""

    digest: str = ""
    ours: bool = False
    secrets: frozenset[str] = frozenset()
    mode: str = ""
    parts: dict[str, Part] = field(default_factory=dict)
    volumes: bool = False
    unit: str = ""
    stale: bool = False
    version: str = ""
    answer: int = 0

    @property
    def foreign(self) -> bool:
        """Somebody else's file, or containers, of that name."""
        other = any(not part.digest for part in self.parts.values())
        return other or (bool(self.digest) and not self.ours)

    @property
    def runs(self) -> bool:
        states = [part.state for part in self.parts.values()]
        return self.unit in ("active", "activating") or "running" in states


@dataclass(frozen=True)
class ServicesFact:
    """`compose` is the version of `docker compose`, empty without it; `venv`: python3 can make a
    virtual environment."""

    services: dict[str, ServiceFact] = field(default_factory=dict)
    compose: str = ""
    venv: bool = False


def _script(_: ProbeContext) -> str:
    lines = [
        AS_USER.rstrip(),
        'echo "compose $(docker compose version --short 2>/dev/null)"',
        "python3 -c 'import ensurepip, venv' 2>/dev/null && echo 'venv yes'",
    ]
    for service in SERVICES.values():
        lines += _lines(service)
    return "\n".join([*lines, "true"])


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
        template = (
            f'{name} part {{{{.Label "com.docker.compose.service"}}}} {{{{.State}}}} '
            f'{{{{.Label "{LABEL}"}}}}'
        )
        by_project = f"--filter label=com.docker.compose.project={name}"
        return [
            *lines,
            f"docker ps --all {by_project} --format {quote(template)} 2>/dev/null",
            f'[ -z "$(docker volume ls --quiet {by_project} 2>/dev/null)" ] || '
            f"echo '{name} volumes'",
        ]
    return [
        *lines,
        f'echo "{name} unit $(_user systemctl --user is-active {name} 2>/dev/null)"',
        f'[ "$(_user systemctl --user show -p NeedDaemonReload --value {name} 2>/dev/null)" '
        f"!= yes ] || echo '{name} stale'",
        f"for _d in {host_path(VENV)}/lib/python3*/site-packages/arize_phoenix-*.dist-info; do "
        f'[ -d "$_d" ] && echo "{name} version $(basename "$_d" .dist-info)"; done',
        f"[ -d {host_path(service.folder)} ] && echo '{name} volumes'",
    ]


def parse(text: str) -> ServicesFact:
    words = [line.split() for line in text.splitlines()]
    rows: dict[str, list[list[str]]] = {}
    for first, *rest in (row for row in words if row):
        rows.setdefault(first, []).append(rest)
    compose = next((row[0] for row in rows.get("compose", ()) if row), "")
    services = {name: _service(rows.get(name, [])) for name in SERVICES}
    return ServicesFact(services, compose, ["yes"] in rows.get("venv", []))


def _service(rows: list[list[str]]) -> ServiceFact:
    values: dict[str, str] = {}
    parts: dict[str, Part] = {}
    secrets: set[str] = set()
    for kind, *rest in (row for row in rows if row):
        if kind == "part" and len(rest) >= 2:
            parts[rest[0]] = Part(rest[1], rest[2] if len(rest) > 2 else "")
        elif kind == "secret" and rest:
            secrets.add(rest[0])
        else:
            values[kind] = rest[0] if rest else "yes"
    answer = values.get("answer", "")
    return ServiceFact(
        digest=values.get("file", ""),
        ours="ours" in values,
        secrets=frozenset(secrets),
        mode=values.get("mode", ""),
        parts=parts,
        volumes="volumes" in values,
        unit=values.get("unit", "") if values.get("unit") != "yes" else "",
        stale="stale" in values,
        version=values.get("version", "").removeprefix("arize_phoenix-"),
        answer=int(answer) if answer.isascii() and answer.isdigit() and len(answer) == 3 else 0,
    )


OBSERVABILITY = Fact("services", _script, parse)
