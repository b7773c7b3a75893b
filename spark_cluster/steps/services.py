"""Phoenix, Langfuse and Helicone: what they need, their files and secrets, running, answering."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from spark_cluster.core.shell import ASK_DOCKER, here_document, quote, wait_for
from spark_cluster.core.step import Assessment, Change, Problem, found, skip
from spark_cluster.document import Document
from spark_cluster.engines.spec import host_path
from spark_cluster.facts.services import AS_USER, OBSERVABILITY, ServiceFact
from spark_cluster.facts.storage import PORTS
from spark_cluster.services.compose import LABEL, digest_of
from spark_cluster.services.service import FOLDER_MARK, Generated, Listen, Service
from spark_cluster.services.table import SERVICES
from spark_cluster.steps.base import in_use, patient, problem, step
from spark_cluster.steps.view import View

#: Time for a port to close after its process ended.
_CLOSED_SECONDS = 5.0


class Params(Document):
    """The steps of one run share them. `listen`: on all of the host's addresses or on its loopback
    only, the service's own default if empty. `address` is how a browser reaches the host. `purge`
    drops data and secrets. `seconds` is the time to get ready: a first start makes databases."""

    service: Literal["phoenix", "langfuse", "helicone"] = "phoenix"
    state: Literal["running", "absent"] = "running"
    listen: Listen = ""
    address: str = "localhost"
    purge: bool = False
    seconds: int = Field(default=600, ge=0, le=7200)


def _service(params: Params) -> Service:
    return SERVICES[params.service]


def _fact(view: View, params: Params) -> ServiceFact:
    return view.facts[OBSERVABILITY].services[params.service]


def _text(params: Params) -> str:
    service = _service(params)
    return service.render(service.listen(params.listen), params.address)


# What it needs


@step(
    "service-needs",
    "Check that what the service needs is there",
    Params,
    reads=(OBSERVABILITY, PORTS),
)
def needs(view: View, params: Params) -> Assessment:
    service, fact, host = _service(params), _fact(view, params), view.facts[OBSERVABILITY]
    if fact.foreign:
        if params.state == "absent" and _elsewhere(view, params):
            return Assessment(notes=tuple(left_alone(service, fact, purge=params.purge)))
        what = f"{service.main_file}, its unit or a container of {service.name} is not ours"
        return found(problem("SVC001", what))
    unknown = host.unknown(service)
    if unknown:
        return found(problem("DOCKER001", f"docker says: {unknown}"))
    if params.state == "absent":
        return Assessment()
    problems: list[Problem] = []
    if service.kind == "compose" and fact.other_data and not fact.ours:
        problems.append(_not_our_volumes(view, service))
    if service.kind == "compose" and not host.compose:
        problems.append(problem("SVC002", f"{view.name} has no `docker compose`"))
    if service.kind == "unit" and not host.venv:
        what = f"python3 on {view.name} cannot make a virtual environment"
        problems.append(problem("SVC002", what, f"On {view.name}: apt-get install python3-venv"))
    if not fact.runs:
        problems += in_use("SVC003", view.facts[PORTS].listening, service.ports)
    return found(*problems, notes=service.limits)


def _elsewhere(view: View, params: Params) -> bool:
    """Whether something of ours is on another host of the run."""
    return any(
        OBSERVABILITY in facts and facts[OBSERVABILITY].services[params.service].present
        for name, facts in view.all_facts.items()
        if name != view.name
    )


def _not_our_volumes(view: View, service: Service) -> Problem:
    named = f"docker volume ls --filter label=com.docker.compose.project={service.name}"
    return problem(
        "SVC001",
        f"docker's volumes of a project {service.name} are not ours; `up` would write into them",
        f"On {view.name}: `{named}` names them. Remove them if nobody needs them, or choose "
        "another host with --host.",
    )


# Its files and secrets


@step(
    "service-files",
    "Write the service's files and secrets",
    Params,
    reads=(OBSERVABILITY,),
    titles={"absent": "Remove the service's files"},
)
def files(view: View, params: Params) -> Assessment:
    service, fact = _service(params), _fact(view, params)
    if params.state == "absent":
        return skip("files and secrets stay with the data")
    changes: list[Change] = []
    text = _text(params)
    if fact.digest != hashlib.sha256(text.encode()).hexdigest():
        before = "another content" if fact.digest else "absent"
        commands = _user_file(service.main_file, text, "644")
        changes.append(Change(service.main_file, before, "written", commands))
    missing = [secret for secret in service.secrets if secret.name not in fact.secrets]
    if missing:
        names = ", ".join(secret.name for secret in missing)
        changes.append(
            Change(
                service.env_file, f"without {names}", "random values", _generate(service, missing)
            )
        )
    elif fact.mode != "600":
        commands = f"chmod 600 {host_path(service.env_file)}\n"
        changes.append(Change(service.env_file, f"mode {fact.mode}", "mode 600", commands))
    return Assessment(changes=tuple(changes))


def _folder_of(path: str) -> str:
    return host_path(path.rpartition("/")[0])


def _make_folder(path: str) -> str:
    """The folder of `path`, made by the user, so that every part of it is theirs."""
    return f'runuser -u "$SPARK_USER" -- mkdir -p {_folder_of(path)}\n'


def _user_file(path: str, text: str, mode: str) -> str:
    """Commands that put a file of the SSH user's, by a new one and a rename."""
    new = host_path(f"{path}.spark-cluster.new")
    return (
        f"{_make_folder(path)}{here_document(new, text)}"
        f'chown "$SPARK_USER": {new}\nchmod {mode} {new}\nmv -f {new} {host_path(path)}\n'
    )


def _generate(service: Service, missing: list[Generated]) -> str:
    """Each value is made on the host from the kernel's random numbers; what is there is kept."""
    path, new = host_path(service.env_file), host_path(f"{service.env_file}.spark-cluster.new")
    lines = "".join(
        f"  printf '%s\\n' \"{secret.name}={secret.prefix}$(od -An -v -N{secret.size} -tx1 "
        f"/dev/urandom | tr -d ' \\n')\"\n"
        for secret in missing
    )
    return (
        f"{_make_folder(service.env_file)}"
        f"chmod 0700 {_folder_of(service.env_file)}\n"
        f"(umask 077; {{\n  if [ -e {path} ]; then cat {path}; fi\n{lines}}} > {new})\n"
        f'chown "$SPARK_USER": {new}\nchmod 600 {new}\nmv -f {new} {path}\n'
    )


# Running


@step(
    "service-running",
    "Start the service",
    Params,
    reads=(OBSERVABILITY,),
    titles={"absent": "Stop the service"},
    affects=(PORTS,),
    timeout=3600.0,
)
def running(view: View, params: Params) -> Assessment:
    service, fact = _service(params), _fact(view, params)
    if params.state == "absent":
        return _absent(view, params)
    if service.kind == "compose":
        return Assessment(changes=_compose_up(service, fact, _text(params)))
    return Assessment(changes=_unit_up(service, fact))


def _compose_up(service: Service, fact: ServiceFact, text: str) -> tuple[Change, ...]:
    wanted = digest_of(text)
    late = [
        name for name in service.parts
        if (part := fact.parts.get(name)) is None
        or part.state not in ("running", "restarting") or part.digest != wanted
    ]  # fmt: skip
    if not late:
        return ()
    before = "absent" if not fact.parts else f"without {', '.join(late)}"
    commands = (
        f"(cd {_folder_of(service.main_file)} &&\n"
        "  docker compose --file docker-compose.yml up --detach --quiet-pull --remove-orphans "
        # It may ask whether to make a volume anew: the script on its input is no answer.
        "</dev/null)\n"
    )
    return (Change(f"containers of {service.name}", before, "running", commands),)


def _unit_up(service: Service, fact: ServiceFact) -> tuple[Change, ...]:
    changes: list[Change] = []
    if fact.version != service.version:
        venv = host_path(service.venv)
        folder = host_path(service.folder)
        commands = (
            f"{AS_USER}if [ ! -e {folder} ]; then\n"
            f"  _user mkdir -p {folder}\n  _user touch {folder}/{FOLDER_MARK}\nfi\n"
            f"_user python3 -m venv {venv}\n"
            f"_user {venv}/bin/pip install --quiet --disable-pip-version-check "
            f"{quote(f'{service.package}=={service.version}')}\n"
        )
        changes.append(Change(service.venv, fact.version or "absent", service.version, commands))
    if fact.unit not in ("active", "activating") or fact.stale or changes:
        commands = (
            f'{AS_USER}loginctl enable-linger "$SPARK_USER"\n'
            + wait_for('[ -S "/run/user/$_uid/bus" ]', seconds=30, what="the user's systemd")
            + f"_user systemctl --user daemon-reload\n"
            f"_user systemctl --user enable --quiet {service.name}\n"
            f"_user systemctl --user restart {service.name}\n"
        )
        before = "of an older file" if fact.stale else fact.unit or "absent"
        changes.append(Change(f"user unit {service.name}", before, "active", commands))
    return tuple(changes)


def _absent(view: View, params: Params) -> Assessment:
    service, fact = _service(params), _fact(view, params)
    if fact.foreign:
        return skip("it is not ours")
    unknown = view.facts[OBSERVABILITY].unknown(service)
    if unknown:
        return found(problem("DOCKER001", f"docker says: {unknown}"))
    return Assessment(
        changes=tuple(_stop(service, fact, purge=params.purge)),
        notes=tuple(left_alone(service, fact, purge=params.purge)),
    )


def left_alone(service: Service, fact: ServiceFact, *, purge: bool) -> Iterator[str]:
    """What a teardown passes over, for it is somebody else's."""
    if fact.foreign:
        yield f"{service.name}: there is one that spark-cluster did not make, left alone"
    elif purge and fact.other_data:
        data = "docker volumes" if service.kind == "compose" else f"data in {service.folder}"
        yield f"{service.name}: {data} without our mark, left alone"


def _stop(service: Service, fact: ServiceFact, *, purge: bool) -> list[Change]:
    changes: list[Change] = []
    if fact.ours and fact.unit in ("active", "activating", "failed"):
        commands = f"{AS_USER}_user systemctl --user disable --quiet --now {service.name}\n"
        changes.append(Change(f"user unit {service.name}", fact.unit, "stopped", commands))
    if fact.parts:
        commands = f"docker compose --project-name {service.name} down --remove-orphans\n"
        state = ", ".join(f"{name} {part.state}" for name, part in fact.parts.items())
        changes.append(Change(f"containers of {service.name}", state, "gone", commands))
    purged = _purge(service, fact)
    if purge and purged:
        changes.append(Change(f"data and secrets of {service.name}", "kept", "gone", purged))
    return changes


def _purge(service: Service, fact: ServiceFact) -> str:
    """Commands that drop what has our mark; empty if nothing has. A line of the secrets' file that
    is not one of our secrets stays."""
    commands = ""
    if fact.data and service.kind == "compose":
        commands += (
            f"_ours=$({ASK_DOCKER} volume ls --quiet --filter label={LABEL}={service.name})\n"
            '[ -z "$_ours" ] || docker volume rm $_ours >/dev/null\n'
        )
    elif fact.data:
        commands += f"rm -rf {host_path(service.folder)}\n"
    names = [secret.name for secret in service.secrets]
    if fact.secrets.intersection(names) and (fact.ours or service.kind == "unit"):
        path = host_path(service.env_file)
        commands += f"sed -i -E '/^({'|'.join(names)})=/d' {path}\n[ -s {path} ] || rm -f {path}\n"
    if fact.ours:
        commands += f"rm -f {host_path(service.main_file)}\n"
    return commands


# Whether it answers


def _well(fact: ServiceFact) -> bool:
    return 200 <= fact.answer < 400


@step(
    "service-answers",
    "Check that the service answers",
    Params,
    reads=(OBSERVABILITY,),
    titles={"absent": "Check that the service has stopped"},
    wait=lambda params: float(params.seconds) if params.state == "running" else _CLOSED_SECONDS,
)
def answers(view: View, params: Params) -> Assessment:
    service, fact = _service(params), _fact(view, params)
    if params.state == "absent":
        return _silent(view, service, fact)
    if _well(fact):
        return Assessment(notes=(f"answers on port {service.port}",))
    log = (
        f"docker compose -f {service.main_file} logs"
        if service.kind == "compose"
        else f"journalctl --user -u {service.name}"
    )
    said = f"HTTP {fact.answer}" if fact.answer else "no answer"
    return Assessment(
        problems=(
            problem("SVC004", f"{service.name} on port {service.port}: {said}",
                    f"On {view.name}: {log}"),
        ),
        waiting=(f"{service.name} to answer on port {service.port}",),
    )  # fmt: skip


def _silent(view: View, service: Service, fact: ServiceFact) -> Assessment:
    """After a teardown: whoever answers on the port of what we stopped is not ours."""
    if fact.ours and not fact.runs and _well(fact):
        what = f"port {service.port} of {service.name} still answers: HTTP {fact.answer}"
        remedy = f"On {view.name}: `sudo ss -ltnp 'sport = :{service.port}'` names what listens."
        # Patient: it is no reason not to begin with the teardown.
        return patient(problem("SVC003", what, remedy))
    return Assessment(notes=("its data is kept",) if fact.data or fact.other_data else ())
