"""A launch of each kind of engine over fake hosts, to its end."""

from __future__ import annotations

import pytest

from tests.command_line import Cli

from . import world
from .world import INVENTORY, Spark

OLLAMA_UP = (
    "spark-cluster: the model is there\n@@health\n"
    '{"models":[{"name":"qwen3-32b-fp8:latest"}]}\n@@http 200 0.002 s \n'
)
OLLAMA_TOKEN = '{"response":" one","eval_count":1}\n@@http 200 41.0 s \n'


def spark(name: str, recipe: str, server: str = world.SERVER_UP) -> Spark:
    """A host on which `docker run` starts the recipe's container, and the head then serves."""
    deployment = world.deployment(recipe)
    host = Spark(name).effect("docker run", containers=world.running(name, recipe=recipe))
    paths = "\n".join(file.path for file in deployment.files)
    host.effect("/var/lib/spark-cluster/files", files=paths)
    host.carries = world.TOKEN_UNITS
    if name == deployment.head:
        host.effect("docker run", server=server)
    return host


def test_two_hosts_without_ray(cli: Cli) -> None:
    hosts = [spark(name, "qwen3-vl-235b-mp") for name in world.PAIR]
    said = cli("launch", "qwen3-vl-235b-mp", "-v", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0, said
    assert "vllm-mp starts without Ray" in said.out
    assert "vllm-mp: the container itself is the server" in said.out
    assert "qwen3-vl-235b-mp is ready: http://192.168.102.11:8000/v1" in said.out
    assert all("ray start" not in script for host in hosts for script in host.scripts)


def test_mpirun_is_started_when_both_containers_run(cli: Cli) -> None:
    recipe = "qwen3-235b-trtllm"
    hosts = [spark(name, recipe) for name in world.PAIR]
    hosts[1].texts["mesh"] = (
        "authorized ssh-ed25519 AAAA spark-cluster-mesh spark-2\n" + hosts[1].texts["mesh"]
    )
    up = world.running("spark-2", recipe=recipe, serving=False)
    hosts[0].effect("docker exec", containers=up + "p 9 mpirun trtllm-serve\n")
    said = cli("launch", recipe, "-v", "-i", INVENTORY, hosts=hosts)
    assert said.code == 0, said
    assert "trtllm-serve nvidia/Qwen3-235B-A22B-FP4 in trtllm-head" in said.out
    assert "is ready: http://192.168.102.11:8355/v1" in said.out


def test_mpirun_without_keys_is_refused(cli: Cli) -> None:
    hosts = [spark(name, "qwen3-235b-trtllm") for name in world.PAIR]
    for host in hosts:
        host.texts["mesh"] = "user nvidia\n"
    said = cli("launch", "qwen3-235b-trtllm", "-i", INVENTORY, hosts=hosts)
    assert said.code == 4
    assert "spark-2 has no key" in said.out
    assert "spark-cluster mesh" in said.out
    assert not any(host.changes for host in hosts)


def test_ollama_on_one_host(cli: Cli) -> None:
    host = spark("spark-2", "ollama-qwen3-32b", OLLAMA_UP).on("/api/generate", OLLAMA_TOKEN)
    said = cli("launch", "ollama-qwen3-32b", "-v", "-i", INVENTORY, hosts=[host])
    assert said.code == 0, said
    assert "ollama-qwen3-32b is ready: http://192.168.102.11:11434\n" in said.out
    assert "curl http://192.168.102.11:11434/api/chat" in said.out
    assert '"model": "qwen3-32b-fp8"' in said.out
    assert "verify-rdma" not in said.out
    again = cli("launch", "ollama-qwen3-32b", "-i", INVENTORY, hosts=[host])
    assert "is already up" in again.out


@pytest.mark.parametrize("name", ["qwen3-32b-fp8", "ollama-qwen3-32b"])
def test_a_recipe_for_one_host_asks_nothing_of_the_others(cli: Cli, name: str) -> None:
    said = cli("plan", "launch", name, "-i", INVENTORY, hosts=world.sparks("spark-2"))
    assert said.code == 0
    assert "spark-3" not in said.out
