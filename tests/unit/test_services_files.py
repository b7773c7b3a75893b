"""The services' files: no default secrets, bounded memory, valid compose and units; env scripts."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from spark_cluster import bounded_yaml, services
from spark_cluster.cli.commands.services import _NAMES
from spark_cluster.core.shell import ASK_DOCKER
from spark_cluster.core.step import Change
from spark_cluster.facts.base import ProbeContext
from spark_cluster.facts.docker import NO_ANSWER
from spark_cluster.facts.probe import PRELUDE
from spark_cluster.facts.services import OBSERVABILITY, Part, ServicesFact
from spark_cluster.services.compose import LABEL, MARK, digest_of
from spark_cluster.services.service import Service, reached
from spark_cluster.services.table import SERVICES
from spark_cluster.steps.services import Params, files, running
from tests import compose_program

from . import world

FOLDER = Path(services.__file__).parent
COMPOSED = [service for service in SERVICES.values() if service.kind == "compose"]


def text_of(service: Service) -> str:
    return service.render(service.listen(""), "192.168.102.10")


def document(service: Service) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text_of(service))
    return loaded


def test_the_names_are_the_same_everywhere() -> None:
    assert set(_NAMES) == set(SERVICES)
    assert set(get_args(Params.model_fields["service"].annotation)) == set(SERVICES)


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda service: service.name)
def test_a_file_says_whose_it_is_and_ends_with_a_newline(service: Service) -> None:
    text = text_of(service)
    assert text.startswith(MARK)
    assert text.endswith("\n")
    assert service.limits
    assert service.login


@pytest.mark.parametrize("service", COMPOSED, ids=lambda service: service.name)
def test_every_secret_of_a_compose_file_is_generated(service: Service) -> None:
    text = text_of(service)
    used = set(re.findall(r"\$\{([A-Z_]+)\}", text))
    assert used == {secret.name for secret in service.secrets}
    for part in document(service)["services"].values():
        for name, value in part.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|SALT|AUTH$|ENCRYPTION", name):
                assert re.fullmatch(r"\$\{[A-Z_]+\}", value), name


@pytest.mark.parametrize("service", COMPOSED, ids=lambda service: service.name)
def test_every_container_is_ours_bounded_and_restarted(service: Service) -> None:
    parts = document(service)["services"]
    assert set(parts) == set(service.parts)
    for part in parts.values():
        assert part["labels"] == {LABEL: digest_of(text_of(service))}
        assert part["mem_limit"]
        assert part["restart"] == "unless-stopped"


@pytest.mark.parametrize("service", COMPOSED, ids=lambda service: service.name)
def test_the_ports_that_are_published_are_those_that_are_checked(service: Service) -> None:
    published = [
        port for part in document(service)["services"].values() for port in part.get("ports", ())
    ]
    assert [int(port.split(":")[1]) for port in published] == list(service.ports)
    wanted = "127.0.0.1" if service.local else "0.0.0.0"
    assert {port.split(":")[0] for port in published} == {wanted}
    assert f"{service.listen('all')}:{service.port}:" in service.render("0.0.0.0", "h")
    assert service.listen("local") == "127.0.0.1"


def test_another_file_is_another_digest() -> None:
    langfuse = SERVICES["langfuse"]
    one, other = langfuse.render("0.0.0.0", "a"), langfuse.render("0.0.0.0", "b")
    assert re.fullmatch("[0-9a-f]{12}", digest_of(one))
    assert digest_of(one) != digest_of(other)
    assert digest_of(one) == digest_of(langfuse.render("0.0.0.0", "a"))


@pytest.mark.parametrize("service", COMPOSED, ids=lambda service: service.name)
def test_a_host_gets_the_file_that_is_shipped_with_our_marks(service: Service) -> None:
    text = (FOLDER / service.name / service.file).read_text(encoding="utf-8")
    text = text.replace("${LISTEN}", "0.0.0.0").replace("${ADDRESS}", "192.168.102.10")
    wanted = {key: value for key, value in yaml.safe_load(text).items() if key[:2] != "x-"}
    rendered = service.render("0.0.0.0", "192.168.102.10")
    marks = {"labels": {LABEL: digest_of(rendered)}, "restart": "unless-stopped"}
    wanted["services"] = {name: part | marks for name, part in wanted["services"].items()}
    wanted["volumes"] = {key: {"labels": {LABEL: service.name}} for key in wanted["volumes"]}
    assert yaml.safe_load(rendered) == wanted
    assert "&id" not in rendered


def test_the_ports_of_the_unit_are_those_that_are_checked() -> None:
    phoenix = SERVICES["phoenix"]
    ports = re.findall(r"PHOENIX_(?:GRPC_)?PORT=(\d+)", text_of(phoenix))
    assert [int(port) for port in ports] == list(phoenix.ports)
    assert "PHOENIX_HOST=127.0.0.1 " in phoenix.render("127.0.0.1", "h")


# The folders


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*/*.y*ml")), ids=lambda p: p.parent.name)
def test_no_field_of_a_folder_is_given_twice(path: Path) -> None:
    bounded_yaml.load(path.read_text(encoding="utf-8"))


def test_a_folder_has_its_description_and_one_file() -> None:
    folders = {path for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {folder.name for folder in folders} == set(SERVICES)
    for folder in folders:
        wanted = {"service.yaml", SERVICES[folder.name].file}
        assert {path.name for path in folder.iterdir() if path.name != "__pycache__"} == wanted


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"version": ""}, "a unit, and no compose file, has package and version"),
        ({"kind": "compose"}, "a unit, and no compose file, has package and version"),
        ({"port": 6007}, "port is one of ports"),
        ({"health": "healthz"}, "health"),
        ({"foldr": "~/x"}, "foldr"),
        ({"secrets": [{"name": "lower"}]}, "secrets"),
    ],
)
def test_a_description_that_is_wrong_is_refused(changed: dict[str, Any], fault: str) -> None:
    fields = SERVICES["phoenix"].model_dump()
    assert Service.model_validate(fields) == SERVICES["phoenix"]
    with pytest.raises(ValidationError, match=fault):
        Service.model_validate({**fields, **changed})


# The real programs read them


@pytest.mark.parametrize("service", COMPOSED, ids=lambda service: service.name)
def test_docker_compose_accepts_the_file(service: Service, tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(text_of(service))
    read = read_by_compose(service, tmp_path / "docker-compose.yml", tmp_path)
    assert set(read["services"]) == set(service.parts)


@pytest.mark.parametrize("service", COMPOSED, ids=lambda service: service.name)
def test_what_is_shipped_is_what_a_host_gets_but_for_our_marks(
    service: Service, tmp_path: Path
) -> None:
    (tmp_path / "docker-compose.yml").write_text(text_of(service))
    shipped = read_by_compose(service, FOLDER / service.name / service.file, tmp_path)
    written = read_by_compose(service, tmp_path / "docker-compose.yml", tmp_path)
    for part in written["services"].values():
        assert part.pop("labels")
        assert part.pop("restart") == "unless-stopped"
    assert shipped["services"] == written["services"]
    assert set(shipped["volumes"]) == set(written["volumes"])
    assert shipped.get("name") == written.get("name")


def read_by_compose(service: Service, path: Path, home: Path) -> dict[str, Any]:
    """What `docker compose config` makes of the file, with a .env that is written to `home`."""
    program = compose_program.needed(1)
    if program.version < (2,):  # it knows no `name`
        text = path.read_text(encoding="utf-8")
        path = home / "without-name.yml"
        path.write_text(text.replace(f"\nname: {service.name}\n", "\n"))
    listen = service.listen("")
    values = {s.name: f"{s.prefix}{'5a' * s.size}" for s in service.secrets}
    values |= {"LISTEN": listen, "ADDRESS": reached(listen, "192.168.102.10")}
    (home / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    given = ("--env-file", str(home / ".env"), "--file", str(path))
    done = program.run(*given, "config", folder=home)
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr
    read: dict[str, Any] = yaml.safe_load(done.stdout)
    return read


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    program = tmp_path / ".local/share/phoenix/venv/bin/phoenix"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "phoenix.service"
    unit.write_text(text_of(SERVICES["phoenix"]))
    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", str(unit)],
        env={**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    about_it = [line for line in done.stderr.splitlines() if "phoenix" in line]
    assert about_it == []


# The scripts, in a real shell


def carried_out(change: Change, home: Path) -> None:
    """Run a change as on a host; `home` is the SSH user's, who is ourselves."""
    folder = home.parent / "bin"
    folder.mkdir(exist_ok=True)
    runuser = folder / "runuser"
    runuser.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')  # runuser -u USER -- COMMAND
    runuser.chmod(0o755)
    script = f"{PRELUDE}SPARK_HOME={home}\nset -eu\n{change.commands}"
    subprocess.run(
        ["sh", "-s"],
        input=script,
        env={"PATH": f"{folder}:{os.defpath}"},
        text=True,
        check=True,
        timeout=60,
    )


def changes(service: str, fact: str) -> dict[str, Change]:
    found = files.assess(
        world.view("spark-2", {"spark-2": {"services": fact}}), Params(service=service)
    )
    return {change.what: change for change in found.changes}


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    service = SERVICES["langfuse"]
    path = home / "llm/langfuse/.env"
    carried_out(changes("langfuse", "")[service.env_file], home)
    lines = path.read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines)
    assert list(values) == [secret.name for secret in service.secrets]
    for secret in service.secrets:
        assert re.fullmatch(rf"{secret.prefix}[0-9a-f]{{{2 * secret.size}}}", values[secret.name])
    assert len(set(values.values())) == len(values)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    # All there: no change. One gone: it alone is new.
    names = [secret.name for secret in service.secrets]
    whole = "langfuse mode 600\n" + "".join(f"langfuse secret {name}\n" for name in names)
    assert service.env_file not in changes("langfuse", whole)
    path.write_text("".join(f"{line}\n" for line in lines if not line.startswith("SALT=")))
    carried_out(changes("langfuse", whole.replace("langfuse secret SALT\n", ""))[service.env_file],
                home)  # fmt: skip
    again = dict(line.split("=", 1) for line in path.read_text().splitlines())
    assert again.pop("SALT") != values.pop("SALT")
    assert again == values
    assert sorted(p.name for p in path.parent.iterdir()) == [".env"]


def test_the_main_file_is_written_whole(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    service = SERVICES["phoenix"]
    carried_out(changes("phoenix", "")[service.main_file], home)
    path = home / ".config/systemd/user/phoenix.service"
    assert path.read_text() == service.render("0.0.0.0", "localhost")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def probed(home: Path, docker: str) -> ServicesFact:
    """What the probe reads where `docker` is this shell script; empty: there is none."""
    folder = home.parent / "bin"
    folder.mkdir(exist_ok=True)
    programs = {"runuser": "exit 1", "curl": "printf 000", "docker": docker}
    for name, text in programs.items():
        if text:
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
    world_of = world.view("spark-1")
    script = OBSERVABILITY.script(ProbeContext(world_of.host, world_of.inventory))
    for name in ("timeout", "grep", "sed", "head", "id", "cut", "sha256sum", "stat", "python3"):
        path = shutil.which(name)
        if path and not (folder / name).exists():
            (folder / name).symlink_to(path)
    done = subprocess.run(
        ["/bin/sh", "-s"], input=f"SPARK_USER=root\nSPARK_HOME={home}\n{script}",
        env={"PATH": str(folder)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return OBSERVABILITY.parse(done.stdout)


ANSWERS = """
case "$*" in
  *--short) echo 2.40.3 ;;
  ps*) echo '@@row langfuse part redis running 0123456789ab'
    echo '@@row other part web running ' ;;
  volume*) echo '@@row langfuse data langfuse'; echo '@@row helicone data ' ;;
esac"""


def test_containers_and_volumes_are_read(tmp_path: Path) -> None:
    fact = probed(tmp_path / "home", ANSWERS)
    langfuse, helicone = fact.services["langfuse"], fact.services["helicone"]
    assert (fact.compose, fact.docker_error) == ("2.40.3", "")
    assert langfuse.parts == {"redis": Part("running", "0123456789ab")}
    assert (langfuse.data, langfuse.other_data) == (True, False)
    assert (helicone.data, helicone.other_data) == (False, True)


def test_a_line_break_in_a_strangers_label_begins_no_row(tmp_path: Path) -> None:
    forged = "echo '@@row other'; echo 'langfuse part redis running 0123456789ab'"
    fact = probed(tmp_path / "home", f"case $* in ps*) {forged} ;; esac")
    assert fact.services["langfuse"].parts == {}


@pytest.mark.parametrize(
    ("docker", "error"),
    [
        ("", ""),
        ("echo 'Cannot connect' >&2; echo more >&2; exit 1", "Cannot connect"),
        ("exit 124", "docker ps gave no answer within 20 s"),
        ('case "$1" in volume) exit 124 ;; esac', "docker ps gave no answer within 20 s"),
    ],
    ids=["no docker", "no daemon", "no answer", "no answer on volumes"],
)
def test_a_docker_that_does_not_answer_is_told(tmp_path: Path, docker: str, error: str) -> None:
    assert probed(tmp_path / "home", docker).docker_error == error


def test_docker_has_a_time_limit_for_each_question() -> None:
    view = world.view("spark-1")
    script = OBSERVABILITY.script(ProbeContext(view.host, view.inventory))
    rest = script.replace("command -v docker", "").replace(NO_ANSWER, "")
    assert f"{ASK_DOCKER} " in rest
    assert not re.search(r"\bdocker ", rest.replace(f"{ASK_DOCKER} ", ""))


def purged(service: str, fact: str, home: Path) -> None:
    view = world.view("spark-2", {"spark-2": {"services": fact}})
    found = running.assess(view, Params(service=service, state="absent", purge=True))
    for change in found.changes:
        carried_out(change, home)


def test_purge_drops_what_is_ours_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    env, main = (home / "llm/langfuse" / name for name in (".env", "docker-compose.yml"))
    main.parent.mkdir(parents=True)
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ "$2" = rm ] || echo v1 v2\n')
    docker.chmod(0o755)
    main.touch()
    env.write_text("SALT=1\nOPENAI_API_KEY=theirs\n")
    ours = "langfuse file 00\nlangfuse ours\nlangfuse secret SALT\n"
    purged("langfuse", f"{ours}langfuse data langfuse\nlangfuse data\n", home)
    assert (env.read_text(), main.exists()) == ("OPENAI_API_KEY=theirs\n", False)
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"volume ls --quiet --filter label={LABEL}=langfuse", "volume rm v1 v2",
    ]  # fmt: skip
    env.write_text("SALT=1\n")
    purged("langfuse", ours, home)
    assert not env.exists()


def test_a_phoenix_folder_that_was_there_before_is_not_ours(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = home / ".local/share/phoenix"
    view = world.view("spark-2", {"spark-2": {"services": ""}})
    install = running.assess(view, Params(service="phoenix")).changes[0]
    install = replace(install, commands=install.commands.partition("_user python3")[0])
    for made in (False, True):
        shutil.rmtree(home, ignore_errors=True)
        (home if made else folder).mkdir(parents=True)
        carried_out(install, home)
        fact = probed(home, "exit 0").services["phoenix"]
        assert (fact.data, fact.other_data) == (made, not made)
        purged("phoenix", "phoenix data ours\n" if made else "phoenix data\n", home)
        assert folder.exists() is not made


# What the containers get


@pytest.mark.parametrize("service", COMPOSED, ids=lambda service: service.name)
def test_volumes_have_our_mark_and_no_digest(service: Service) -> None:
    volumes = document(service)["volumes"]
    assert volumes
    assert all(volume == {"labels": {LABEL: service.name}} for volume in volumes.values())


@pytest.mark.parametrize("service", COMPOSED, ids=lambda service: service.name)
def test_what_listens_locally_is_reached_locally(service: Service) -> None:
    assert "192.168.102.10" not in service.render("127.0.0.1", "192.168.102.10")
    assert f"http://192.168.102.10:{service.port}" in service.render("0.0.0.0", "192.168.102.10")


def test_redis_is_the_process_that_docker_ends(tmp_path: Path) -> None:
    shell, option, script = document(SERVICES["langfuse"])["services"]["redis"]["command"]
    server = tmp_path / "redis-server"
    server.write_text('#!/bin/sh\necho "$$"; stat -c %a "$1"; cat "$1"\n')
    server.chmod(0o755)
    script = script.replace("$$", "$").replace("/tmp/", f"{tmp_path}/")
    with subprocess.Popen(
        [shell, option, script], stdout=subprocess.PIPE, text=True,
        env={"PATH": f"{tmp_path}:{os.defpath}", "REDIS_AUTH": "5a"},
    ) as process:  # fmt: skip
        said, _ = process.communicate(timeout=30)
    lines = [str(process.pid), "600", "requirepass 5a", "maxmemory-policy noeviction"]
    assert said.splitlines() == lines


def test_no_secret_is_in_a_plan() -> None:
    for name in SERVICES:
        for change in changes(name, "").values():
            assert not change.secrets
            assert not re.search(r"=[0-9a-f]{16}", change.commands)
