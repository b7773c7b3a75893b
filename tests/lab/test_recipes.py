"""Recipes of several engines, options and formats, served by the lab's nodes.

The two nodes of vllm-ray are in test_four_commands.py. SGLang, TRT-LLM and Ollama have no stand-in
in the lab: their modules are tested by what they would run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.lab.image import ENGINE_IMAGE
from spark_cluster.lab.model import NAME
from tests.lab.conftest import Cluster

pytestmark = [pytest.mark.lab, pytest.mark.long]

HEAD, WORKER = "spark-2", "spark-3"
RAIL, HALF = "rocep1s0f1", "roceP2p1s0f1"
LABEL = "{{index .Config.Labels"

#: A recipe of eugr/spark-vllm-docker in shape, with the lab's image and model.
EUGR = f"""\
recipe_version: "1"
name: Lab
description: somebody's own recipe
model: {NAME}
container: {ENGINE_IMAGE}
cluster_only: true
defaults: {{port: 8010, host: 0.0.0.0, tensor_parallel: 2, gpu_memory_utilization: 0.01}}
env: {{VLLM_ATTENTION_BACKEND: TRITON_ATTN}}
command: |
  vllm serve {NAME} --port {{port}} --host {{host}} \\
      --gpu-memory-utilization {{gpu_memory_utilization}} \\
      -tp {{tensor_parallel}} --distributed-executor-backend ray --max-model-len 8192
"""

#: A recipe of sparkrun, format 2, in shape.
SPARKRUN = f"""\
recipe_version: "2"
model: {NAME}
runtime: vllm-distributed
container: nvcr.io/nvidia/vllm:26.05-py3
min_nodes: 2
max_nodes: 2
defaults: {{port: 8011, host: 0.0.0.0, tensor_parallel: 2, gpu_memory_utilization: 0.01}}
command: |
  vllm serve {{model}} --max-model-len 8192 --gpu-memory-utilization {{gpu_memory_utilization}} \\
      --tensor-parallel-size {{tensor_parallel}} --host {{host}} --port {{port}}
"""


@pytest.fixture(scope="module", autouse=True)
def ready_hosts(cluster: Cluster) -> Iterator[None]:
    cluster.run("bootstrap")
    yield
    cluster.run("teardown", "--force", code=None)


@pytest.fixture(autouse=True)
def nothing_runs(cluster: Cluster) -> None:
    cluster.run("teardown")


def launch(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    _, last = cluster.events("launch", *arguments)
    found: dict[str, Any] = last["data"]
    return found


def carried(data: dict[str, Any]) -> set[tuple[str, str]]:
    return {(row["host"], row["rail"]) for row in data["verdict"]["rows"] if row["tx"]}


def inspect(cluster: Cluster, host: str, form: str) -> str:
    names = cluster.on(host, "sudo docker ps -q --filter label=spark-cluster.recipe").split()
    return cluster.on(host, f"sudo docker inspect -f '{form}' {' '.join(names)}").strip()


def test_two_hosts_without_ray(cluster: Cluster) -> None:
    data = launch(cluster, "qwen3-vl-235b-mp")
    assert data["verdict"]["kind"] == "rdma", data["verdict"]
    assert data["served"]["hosts"] == [HEAD, WORKER]
    assert carried(data) == {(HEAD, RAIL), (WORKER, RAIL)}
    for rank, host in enumerate((HEAD, WORKER)):
        arguments = inspect(cluster, host, "{{json .Config.Cmd}}{{json .Config.Entrypoint}}")
        assert f"--node-rank {rank}" in arguments.replace('","', " ").replace("=", " ")
        assert "ray" not in cluster.on(
            host, "ps -eo args | grep -v '\\[' | grep -c 'ray start'", check=False
        )


def test_one_host_in_its_profile(cluster: Cluster) -> None:
    data = launch(cluster, "qwen3-32b-fp8", "--profile", "latency")
    assert data["endpoint"].endswith("/v1")
    assert "verdict" not in data, "one host has no fabric to judge"
    hosts = json.loads(cluster.run("status", "--json").stdout)["hosts"]
    (row,) = [row for row in hosts if row["containers"]]
    assert row["endpoint"] is not None
    assert "16384" in inspect(cluster, row["host"], "{{json .Config.Cmd}}")


def test_a_pipeline_over_both_halves(cluster: Cluster) -> None:
    data = launch(cluster, "qwen3-vl-235b", "--pp", "--dual-rail", "--debug")
    assert data["verdict"]["kind"] == "rdma", data["verdict"]
    assert {host for host, _ in carried(data)} == {HEAD, WORKER}
    environment = inspect(cluster, HEAD, "{{json .Config.Env}}")
    assert "VLLM_LOGGING_LEVEL=DEBUG" in environment
    assert f"NCCL_IB_HCA={RAIL}:1,{HALF}:1" in environment.replace("==", "=")


@pytest.mark.parametrize("text", [EUGR, SPARKRUN], ids=["eugr", "sparkrun"])
def test_somebody_elses_recipe(cluster: Cluster, tmp_path: Path, text: str) -> None:
    recipe = tmp_path / "their-recipe.yaml"
    recipe.write_text(text)
    data = launch(cluster, str(recipe))
    assert data["verdict"]["kind"] == "rdma", data["verdict"]
    assert data["served"]["hosts"] == [HEAD, WORKER]
