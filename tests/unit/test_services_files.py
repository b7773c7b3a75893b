"""The services' files: no default secrets, bounded memory, valid compose and units; env scripts."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from spark_cluster.cli.services import _NAMES
from spark_cluster.core.step import Change
from spark_cluster.facts.probe import PRELUDE
from spark_cluster.services.compose import digest_of
from spark_cluster.services.service import LABEL, MARK, Service
from spark_cluster.services.table import SERVICES
from spark_cluster.steps.services import Params, files

from . import world

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


# The real programs read them


def compose_v2() -> list[str] | None:
    """`docker compose` of version 2 on this machine."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run(
                [*command, "version", "--short"], capture_output=True, text=True, timeout=30
            )
            version = done.stdout.strip().lstrip("v")
            if done.returncode == 0 and re.match(r"([2-9]|\d\d)\.", version):
                return command
    return None


@pytest.mark.parametrize("service", COMPOSED, ids=lambda service: service.name)
def test_docker_compose_accepts_the_file(service: Service, tmp_path: Path) -> None:
    command = compose_v2()
    if command is None:
        pytest.skip("no docker compose 2 on this machine (apt-get install docker-compose-v2)")
    (tmp_path / "docker-compose.yml").write_text(text_of(service))
    secrets = "".join(f"{s.name}={s.prefix}{'5a' * s.size}\n" for s in service.secrets)
    (tmp_path / ".env").write_text(secrets)
    done = subprocess.run(
        [*command, "--file", "docker-compose.yml", "config", "--services"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(service.parts)
    assert "variable is not set" not in done.stderr


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
    found = files(world.view("spark-2", {"spark-2": {"services": fact}}), Params(service=service))
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


def test_no_secret_is_in_a_plan() -> None:
    for name in SERVICES:
        for change in changes(name, "").values():
            assert not change.secrets
            assert not re.search(r"=[0-9a-f]{16}", change.commands)
