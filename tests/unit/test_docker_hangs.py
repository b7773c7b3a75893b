"""Docker that does not answer: what is read without it, and what ends without it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from spark_cluster.core.shell import ANSWER_SECONDS
from spark_cluster.evidence.items import DOCKER_SECONDS, LIBRARY, items
from spark_cluster.facts.docker import CONTAINERS, DOCKER
from spark_cluster.facts.engine import ENGINE
from spark_cluster.steps import containers
from spark_cluster.steps.view import Options

from . import world
from .cases import write
from .world import context

CONTAINER_ID = "4f5e" * 16
RECORD = {
    "StreamConfig": {},
    "State": {"Running": True, "Pid": 4211, "ExitCode": 0, "StartedAt": "2026-11-21T03:15:42Z"},
    "ID": CONTAINER_ID,
    "Config": {
        "Env": ['NOTE={"Name":"/not-this"}', "HF_TOKEN=hf_secret"],
        "Labels": {
            "spark-cluster.recipe": "qwen3-vl-235b", "spark-cluster.rank": "0",
            "spark-cluster.role": "head", "spark-cluster.port": "8000",
            "spark-cluster.ports": "8000,6379", "spark-cluster.api": "openai",
        },
    },
    "Name": "/vllm-head",
}  # fmt: skip


def probe(script: str, folder: Path, docker: str) -> str:
    """Run a fact's shell with this docker, patience of a third of a second, and folders of ours."""
    program = write(folder / "bin/docker", f"#!/bin/sh\n{docker}\n")
    program.chmod(0o755)
    for old, new in (
        (f"timeout -k 2 {ANSWER_SECONDS}", "timeout -k 1 0.3"),
        (f"timeout -k 1 {DOCKER_SECONDS} docker", "timeout -k 1 0.3 docker"),
        ("/var/lib/docker", f"{folder}/docker"),
        ("/etc/docker", f"{folder}/etc"),
        ("/var/lib/spark-cluster", f"{folder}/ours"),
        ("/proc", f"{folder}/proc"),
    ):
        script = script.replace(old, new)
    done = subprocess.run(
        ["/bin/sh", "-s"], input=script, text=True, capture_output=True, check=True, timeout=30,
        env={"PATH": f"{folder}/bin:/usr/bin:/bin"},
    )  # fmt: skip
    return done.stdout


def records(folder: Path) -> None:
    """Docker's record of a container of ours with two processes, and one of somebody else's."""
    name = f"docker/containers/{CONTAINER_ID}/config.v2.json"
    write(folder / name, json.dumps(RECORD, separators=(",", ":")))
    write(folder / f"ours/containers/{CONTAINER_ID}", "20261121-031500-9f3a\n")
    write(folder / "docker/containers/0a0a/config.v2.json", '{"Name":"/db","Config":{}}')
    for pid in (4211, 4877):
        write(folder / f"proc/{pid}/cgroup", f"0::/system.slice/docker-{CONTAINER_ID}.scope\n")
        write(folder / f"proc/{pid}/cmdline", "python3\0-m\0vllm\0")
    write(folder / "proc/1/cgroup", "0::/init.scope\n")


def test_docker_that_hangs_does_not_hang_the_probe(tmp_path: Path) -> None:
    records(tmp_path)
    text = probe(CONTAINERS.script(context()), tmp_path, "exec sleep 60")
    fact = CONTAINERS.parse(text)
    assert fact.error == f"docker ps gave no answer within {ANSWER_SECONDS} s"
    (found,) = fact.containers
    assert (found.name, found.state, found.label("recipe")) == (
        "vllm-head", "running", "qwen3-vl-235b",
    )  # fmt: skip
    assert found.started == "2026-11-21T03:15:42Z"
    assert found.processes == ((4211, "python3 -m vllm"), (4877, "python3 -m vllm"))
    assert "hf_secret" not in text


def test_a_container_without_processes_has_ended(tmp_path: Path) -> None:
    records(tmp_path)
    for pid in (4211, 4877):
        (tmp_path / f"proc/{pid}/cgroup").unlink()
    fact = CONTAINERS.parse(probe(CONTAINERS.script(context()), tmp_path, "exec sleep 60"))
    assert [(each.state, each.processes) for each in fact.containers] == [("ended", ())]


def test_one_container_that_docker_cannot_inspect_is_not_left_out(tmp_path: Path) -> None:
    records(tmp_path)
    docker = 'if [ "$1" = ps ]; then echo one; else sleep 60; fi'
    fact = CONTAINERS.parse(probe(CONTAINERS.script(context()), tmp_path, docker))
    assert fact.error == f"docker inspect gave no answer within {ANSWER_SECONDS} s"
    assert [each.name for each in fact.containers] == ["vllm-head"]


def test_a_container_that_is_removed_meanwhile_is_gone(tmp_path: Path) -> None:
    docker = 'if [ "$1" = ps ]; then echo one; else echo "No such object: one" >&2; exit 1; fi'
    fact = CONTAINERS.parse(probe(CONTAINERS.script(context()), tmp_path, docker))
    assert (fact.containers, fact.error) == ((), "")


def test_docker_elsewhere_is_found(tmp_path: Path) -> None:
    records(tmp_path)
    (tmp_path / "docker").rename(tmp_path / "elsewhere")
    write(tmp_path / "etc/daemon.json", f'{{\n  "data-root": "{tmp_path}/elsewhere"\n}}\n')
    docker = 'echo "Cannot connect to the Docker daemon" >&2; exit 1'
    fact = CONTAINERS.parse(probe(CONTAINERS.script(context()), tmp_path, docker))
    assert fact.error == "Cannot connect to the Docker daemon"
    assert [each.name for each in fact.containers] == ["vllm-head"]


def collected(path: str, folder: Path, docker: str) -> str:
    """An item of `evidence`, with 12 processes of a container at most."""
    (item,) = (item for item in items(context()) if item.path == path)
    settings = f"OUT={folder}/out LIMIT=1000\nmkdir -p $OUT/docker $OUT/engine\n"
    return probe(settings + LIBRARY + item.shell, folder, docker)


def test_the_logs_are_kept_without_docker(tmp_path: Path) -> None:
    records(tmp_path)
    log = tmp_path / f"docker/containers/{CONTAINER_ID}/{CONTAINER_ID}-json.log"
    write(log, '{"log":"the end\\n","stream":"stderr","time":"2026-11-21T03:15:42Z"}\n')
    said = collected("docker/logs.txt", tmp_path, "exec sleep 60")
    assert f"vllm-head: docker/logs-vllm-head.txt, of {log}" in said
    assert (tmp_path / "out/docker/logs-vllm-head.txt").read_text() == log.read_text()


def test_the_stacks_are_kept_without_docker_and_the_ranks_first(tmp_path: Path) -> None:
    records(tmp_path)
    for pid in range(5000, 5030):  # Ray's idle workers
        write(tmp_path / f"proc/{pid}/cgroup", f"0::/system.slice/docker-{CONTAINER_ID}.scope\n")
    for pid in (10_000, 5029):  # as a glob sorts them, the first is before all others
        write(tmp_path / f"proc/{pid}/cgroup", f"0::/system.slice/docker-{CONTAINER_ID}.scope\n")
        (tmp_path / f"proc/{pid}/fd").mkdir()
        (tmp_path / f"proc/{pid}/fd/9").symlink_to("/dev/nvidia-uvm")
    said = collected("engine/stacks.txt", tmp_path, "exec sleep 60")
    found = re.findall(r"== vllm-head, process (\d+)", said)
    assert found == ["5029", "10000", "4211", "4877", *map(str, range(5000, 5008))]


ASKED = """\
for word; do last=$word; done
printf 'vllm:num_requests_running 2.0\\n\\n@@http 200 0.01 s %s\\n' "$last"
"""


@pytest.mark.parametrize(
    ("docker", "calls"), [("exec sleep 60", 1), ('echo "Cannot connect" >&2; exit 1', 3)]
)
def test_the_server_is_asked_without_docker(tmp_path: Path, docker: str, calls: int) -> None:
    """By the port of docker's record; a docker that hangs is asked once in a probe."""
    records(tmp_path)
    write(tmp_path / "bin/curl", f"#!/bin/sh\n{ASKED}").chmod(0o755)
    script = "".join(fact.script(context()) for fact in (ENGINE, CONTAINERS, ENGINE))
    text = probe(script, tmp_path, f'echo "$@" >>{tmp_path}/calls\n{docker}')
    assert "http://127.0.0.1:8000/health" in text
    assert ENGINE.parse(text).healthy is True
    assert CONTAINERS.parse(text).error
    assert len((tmp_path / "calls").read_text().splitlines()) == calls


def test_a_head_that_has_ended_is_not_asked(tmp_path: Path) -> None:
    records(tmp_path)
    for pid in (4211, 4877):
        (tmp_path / f"proc/{pid}/cgroup").unlink()
    write(tmp_path / "bin/curl", f"#!/bin/sh\n{ASKED}").chmod(0o755)
    fact = ENGINE.parse(probe(ENGINE.script(context()), tmp_path, "exec sleep 60"))
    assert fact.healthy is None


def test_docker_info_that_hangs(tmp_path: Path) -> None:
    script = "SPARK_USER=root\n" + DOCKER.script(context())
    fact = DOCKER.parse(probe(script, tmp_path, "exec sleep 60"))
    assert fact.error == f"docker info gave no answer within {ANSWER_SECONDS} s"


def test_what_docker_does_not_remove_is_killed_and_nothing_else(tmp_path: Path) -> None:
    """The very commands of --force, with a docker that hangs, on processes of this test."""
    ours, reused = (subprocess.Popen(["/bin/sleep", "60"]) for _ in range(2))
    try:
        write(tmp_path / f"proc/{ours.pid}/cgroup", "0::/system.slice/docker-4f5e.scope\n")
        write(tmp_path / f"proc/{reused.pid}/cgroup", "0::/user.slice\n")
        text = world.running("spark-2", serving=False)
        both = text.replace("p 4211 ", f"p {ours.pid} x\np {reused.pid} ")
        view = world.view("spark-2", {"spark-2": {"containers": both}},
                          options=Options(force=True))  # fmt: skip
        (change,) = containers.containers.assess(view, containers.Params(state="absent")).changes
        commands = change.commands.replace("timeout -k 5 15", "timeout -k 1 0.3")
        started = time.monotonic()
        probe(f"set -eu\n{commands}", tmp_path, "exec sleep 60")
        assert time.monotonic() - started < 20
        assert ours.wait(timeout=10) == -signal.SIGKILL
        assert reused.poll() is None
    finally:
        for process in (ours, reused):
            process.kill()
            process.wait()


def test_the_endpoint_is_kept_without_docker(tmp_path: Path) -> None:
    records(tmp_path)
    write(tmp_path / "bin/curl", '#!/bin/sh\necho "asked $@"\n').chmod(0o755)
    said = collected("engine/endpoint.txt", tmp_path, "exec sleep 60")
    assert "asked -sS --noproxy * -m 5 -i http://127.0.0.1:8000/metrics" in said
