"""TensorRT-LLM's ranks over SSH: the files of the two containers, with a real sshd between them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spark_cluster import places
from spark_cluster.engines import trtllm
from spark_cluster.engines.placement import place
from spark_cluster.engines.spec import Deployment
from spark_cluster.recipes import loader as recipes

from ..unit import world
from .sshd_server import SSHD, eventually, free_port, keygen

pytestmark = pytest.mark.skipif(
    SSHD is None or os.geteuid() != 0, reason="needs sshd and root, as in a container"
)


@dataclass
class Containers:
    """Two folders as the containers see them; `port` is that of the worker's sshd."""

    head: Path
    worker: Path
    port: int

    def ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ssh", "-F", str(self.head / "ssh_config"), "127.0.0.1", command],
            capture_output=True,
            text=True,
            timeout=30,
        )


def deployment() -> Deployment:
    path = places.shipped("playbooks") / "recipes" / "qwen3-235b-trtllm.yaml"
    recipe = recipes.load(str(path), {})
    placement = place(recipe, world.inventory(), "pair", world.PAIR)
    return trtllm.deploy(recipe, placement, world.RUN, recipes.file_contents(recipe))


def write_files(made: Deployment, host: str, folder: Path, port: int) -> None:
    """What is mounted below /etc/spark-cluster, with this machine's places and port in it."""
    folder.mkdir()
    contents = {file.path: file.content for file in made.files}
    for mount in made.container(host).mounts:
        if mount.source in contents:
            text = contents[mount.source].replace("/etc/spark-cluster", str(folder))
            text = text.replace("/run/spark-cluster.env", str(folder / "env"))
            text = text.replace("192.168.100.11", "127.0.0.1").replace("2233", str(port))
            (folder / Path(mount.target).name).write_text(text)


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    made = deployment()
    there = Containers(tmp_path / "head", tmp_path / "worker", free_port())
    write_files(made, "spark-2", there.head, there.port)
    write_files(made, "spark-3", there.worker, there.port)
    key = keygen(there.head / "key")
    host_key = keygen(there.worker / "host_key.mounted")
    public = (there.head / "key.pub").read_text().split()
    known = host_key.with_name("host_key.mounted.pub").read_text().split()
    (there.worker / "authorized_keys").write_text(f"{public[0]} {public[1]} mesh spark-2\n")
    (there.head / "known_hosts").write_text(f"spark-3,127.0.0.1 {known[0]} {known[1]} mesh\n")
    assert key.stat().st_mode & 0o077 == 0
    environment = {**os.environ, "NCCL_IB_HCA": "=rocep1s0f1:1", "ODD": "it's $HOME; `id`\nline"}
    sshd = subprocess.Popen(
        ["sh", str(there.worker / "worker.sh")],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: there.ssh("true").returncode == 0, 20)
        yield there
    finally:
        sshd.terminate()
        sshd.wait(10)


def test_a_rank_gets_its_own_containers_environment(containers: Containers) -> None:
    said = containers.ssh('echo "$NCCL_IB_HCA"; printf "%s" "$ODD"')
    assert said.returncode == 0, said.stderr
    assert said.stdout == "=rocep1s0f1:1\nit's $HOME; `id`\nline"
    assert containers.ssh("exit 7").returncode == 7


def test_the_environment_is_for_root_alone(containers: Containers) -> None:
    assert (containers.worker / "env").stat().st_mode & 0o077 == 0


def test_a_worker_with_another_host_key_is_not_trusted(containers: Containers) -> None:
    other = keygen(containers.head / "other")
    words = other.with_name("other.pub").read_text().split()
    (containers.head / "known_hosts").write_text(f"spark-3,127.0.0.1 {words[0]} {words[1]}\n")
    said = containers.ssh("true")
    assert said.returncode == 255
    assert "Host key verification failed" in said.stderr


def test_a_key_that_is_not_the_heads_is_refused(containers: Containers) -> None:
    other = keygen(containers.head / "another")
    other.replace(containers.head / "key")
    said = containers.ssh("true")
    assert said.returncode == 255
    assert "Permission denied (publickey)" in said.stderr
