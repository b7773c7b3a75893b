"""The monitoring on a host: its files, containers and units; and what Prometheus there sees."""

from __future__ import annotations

from dataclasses import dataclass, field

from spark_cluster.core.shell import ASK_DOCKER, quote
from spark_cluster.core.strangers_json import loads, mapping, objects
from spark_cluster.facts.base import Fact, ProbeContext
from spark_cluster.facts.docker import ROW, ROWS, SAY_WHY, by_first_word, docker_error
from spark_cluster.monitoring import config, ports
from spark_cluster.monitoring.stack import MONITOR_LABEL, SERVICES, SPEC_LABEL, unit_path

#: Who is not there refuses at once; a node_exporter on a busy host needs seconds.
_CURL = "curl -s --noproxy '*' -m 10"

#: In Prometheus' words for a port on which nothing listens. Go's; the same on every Linux.
_REFUSED = "connection refused"

#: What is said of a host that has no docker, and so no container either.
_NO_DOCKER = "there is no docker on this host"


@dataclass(frozen=True)
class Running:
    """A container or unit of ours: the digest of what it was started from, docker's or systemd's
    word for its state."""

    spec: str
    state: str

    @property
    def runs(self) -> bool:
        """Also one that ends and is started again and again: it has been started."""
        return self.state in ("running", "restarting", "active", "activating")


@dataclass(frozen=True)
class MonitorFact:
    """`files` are the sha256 of our files by path. `containers` and `units` are by the service's
    name, `ready` are the services that answer on their port, whoever runs them. `images` and
    `programs`: which of those that we use are there. `password`: Grafana's has been made. `data`:
    the folder with what was collected is there. `docker_error` is not empty when docker could not
    be asked."""

    files: dict[str, str] = field(default_factory=dict)
    containers: dict[str, Running] = field(default_factory=dict)
    units: dict[str, Running] = field(default_factory=dict)
    ready: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    programs: frozenset[str] = frozenset()
    password: bool = False
    data: bool = False
    docker_error: str = ""

    @property
    def docker_silent(self) -> bool:
        """Whether there is a docker that did not answer: `containers` are not known then."""
        return self.docker_error not in ("", _NO_DOCKER)

    def runs(self, name: str) -> bool:
        """Whether ours of that name runs, in whichever way."""
        return any(
            found is not None and found.runs
            for found in (self.containers.get(name), self.units.get(name))
        )


def _script(_: ProbeContext) -> str:
    template = (
        f'container {{{{.Label "{MONITOR_LABEL}"}}}} {{{{.Label "{SPEC_LABEL}"}}}} {{{{.State}}}}'
    )
    lines = [
        f"find {config.FOLDER} -type f -exec sha256sum {{}} + 2>/dev/null | sed 's/^/file /'",
        f"[ -s {config.PASSWORD} ] && echo password",
        f"[ -d {config.DATA} ] && echo data",
        f"{ROWS}command -v docker >/dev/null || _why={quote(_NO_DOCKER)}",
        f"_rows . ps --all --filter label={MONITOR_LABEL} --format {ROW}{quote(template)}",
        SAY_WHY.rstrip(),
    ]
    for service in SERVICES:
        unit = unit_path(service)
        lines += [
            f'[ -z "$_why" ] && {ASK_DOCKER} image inspect --format ok {quote(service.image)} '
            f">/dev/null 2>&1 && echo {quote(f'image {service.image}')}",
            f'echo "ready {service.name} $({_CURL} -o /dev/null -w "%{{http_code}}" '
            f'http://127.0.0.1:{service.port}{service.ready})"',
        ]
        if service.program:
            lines += [
                f"[ -x /usr/bin/{service.program} ] && echo 'program {service.program}'",
                f'[ -e {unit} ] && echo "unit {service.name} '
                f"$(sed -n 's/^# {SPEC_LABEL}=//p' {unit}) "
                f'$(systemctl is-active {service.unit})"',
            ]
    return "\n".join([*lines, "true"])


def parse(text: str) -> MonitorFact:
    rows = by_first_word(text)
    return MonitorFact(
        files={row[1]: row[0] for row in rows.get("file", ()) if len(row) == 2},
        containers=_running(rows.get("container", [])),
        units=_running(rows.get("unit", [])),
        ready=frozenset(row[0] for row in rows.get("ready", ()) if row[1:] == ["200"]),
        images=frozenset(row[0] for row in rows.get("image", ()) if row),
        programs=frozenset(row[0] for row in rows.get("program", ()) if row),
        password="password" in rows,
        data="data" in rows,
        docker_error=docker_error(rows),
    )


def _running(rows: list[list[str]]) -> dict[str, Running]:
    return {row[0]: Running(row[1], row[2]) for row in rows if len(row) == 3}


MONITOR = Fact("monitor", _script, parse)


@dataclass(frozen=True)
class SeenTarget:
    """One target as Prometheus sees it: `health` is up, down, unknown before the first scrape, or
    absent where nothing listens on the port that an engine would have; `error` is why."""

    job: str
    host: str
    address: str
    health: str
    error: str = ""


@dataclass(frozen=True)
class SeenAlert:
    """An alert that is pending or firing. `since` is Prometheus' own time."""

    name: str
    state: str
    severity: str
    summary: str
    code: str = ""
    since: str = ""


@dataclass(frozen=True)
class ScrapedFact:
    """What Prometheus on this host says; both are empty where none answers."""

    targets: tuple[SeenTarget, ...] = ()
    alerts: tuple[SeenAlert, ...] = ()


def _scraped_script(_: ProbeContext) -> str:
    api = f"http://127.0.0.1:{ports.PROMETHEUS}/api/v1"
    return "".join(
        f"{_CURL} '{api}/{path}' || :\necho\n" for path in ("targets?state=active", "alerts")
    )


def parse_scraped(text: str) -> ScrapedFact:
    targets: list[SeenTarget] = []
    alerts: list[SeenAlert] = []
    for line in text.split("\n"):
        data = mapping(loads(line), "data")
        for entry in objects(data, "activeTargets"):
            labels = _texts(entry, "labels")
            job, health = labels.get("job", ""), str(entry.get("health", "unknown"))
            error = str(entry.get("lastError", ""))
            if job == "vllm" and health == "down" and _REFUSED in error:
                health = "absent"
            host, address = labels.get("host", ""), labels.get("instance", "")
            targets.append(SeenTarget(job, host, address, health, error))
        for entry in objects(data, "alerts"):
            labels = _texts(entry, "labels")
            alerts.append(
                SeenAlert(
                    name=labels.get("alertname", ""),
                    state=str(entry.get("state", "")),
                    severity=labels.get("severity", ""),
                    summary=_texts(entry, "annotations").get("summary", ""),
                    code=labels.get("code", ""),
                    since=str(entry.get("activeAt", "")),
                )
            )
    return ScrapedFact(tuple(targets), tuple(alerts))


def _texts(entry: object, key: str) -> dict[str, str]:
    return {str(name): str(value) for name, value in mapping(entry, key).items()}


SCRAPED = Fact("scraped", _scraped_script, parse_scraped, across=True)
