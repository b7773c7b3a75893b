"""Real vLLM, TP=2 over two nodes without Ray: started by our command lines, judged by our steps.

One deployment for the whole file, and the tests are its life in order: it comes up, works, hangs,
and loses a rank.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from spark_cluster import places
from spark_cluster.core.result import Status
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.engine import ENGINE
from spark_cluster.facts.serving import SERVER
from spark_cluster.inventory import loader as inventories
from spark_cluster.serving import api, metrics
from spark_cluster.steps import rdma_verdict
from spark_cluster.workload import served

from . import real_cluster, tiny_model
from .real_cluster import Cluster
from .sshd_server import eventually

pytestmark = pytest.mark.contract
HEAD, WORKER = "spark-2", "spark-3"
PORT = 8000

#: What the missing GPU and the small model dictate, and nothing else.
RECIPE = f"""\
name: tiny
title: A tiny model over two nodes without a GPU
engine: vllm-mp
image: vllm-cpu:0.32.0
engine_version: 0.32.0
model: {tiny_model.NAME}
nodes: 2
port: {PORT}
args:
  tensor-parallel-size: 2
  distributed-executor-backend: {{value: mp, why: the default for several nodes only on CUDA}}
  load-format: {{value: dummy, why: the model has no weights}}
  dtype: {{value: float32, why: every CPU can}}
  enforce-eager: {{value: true, why: there is nothing to capture}}
env:
  HF_HUB_OFFLINE: true
  VLLM_CPU_KVCACHE_SPACE: {{value: 1, why: GiB of this machine's memory for each rank}}
  VLLM_CPU_OMP_THREADS_BIND: {{value: nobind, why: two hosts share this machine's cores}}
  OMP_NUM_THREADS: 1
  TORCHDYNAMO_DISABLE: {{value: 1, why: g++ would compile for half a minute at the first token}}
requires: {{memory_gib: 2}}
shape: {{layers: {tiny_model.LAYERS}, hidden_size: {tiny_model.HIDDEN}, bytes_per_element: 4}}
"""


@pytest.fixture(scope="module")
def cluster(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Both ranks are up: half a minute on two free cores."""
    folder = tmp_path_factory.mktemp("vllm")
    (folder / "tiny.yaml").write_text(RECIPE)
    tiny_model.write(folder / "huggingface")
    inventory = inventories.load(places.shipped("inventory") / inventories.FILE)
    deployment = real_cluster.deploy(folder / "tiny.yaml", inventory, (HEAD, WORKER))
    with real_cluster.cluster(deployment, inventory, folder) as found:
        for container in found.containers.values():
            container.node.environment["HF_HOME"] = str(folder / "huggingface")
            container.start()
        result = found.run("ready minutes=6")["ready"]
        assert result.status is Status.OK, f"{result}\n{found.say()}"
        yield found


def test_the_log_told_of_every_milestone(cluster: Cluster) -> None:
    progress = cluster.read(SERVER, HEAD).progress
    reached = [milestone.key for milestone in progress.reached]
    assert reached == [
        "arguments",
        "model",
        "engine",
        "ranks",
        "loading",
        "kv-cache",
        "initialised",
        "server",
        "ready",
    ]
    assert progress.failure is None


def test_it_names_its_model(cluster: Cluster) -> None:
    answer = api.response(cluster.script(api.get(PORT, "/v1/models", timeout=5)))
    (model,) = api.json_object(answer.body)["data"]
    assert model["id"] == tiny_model.NAME
    assert (model["owned_by"], model["max_model_len"]) == ("vllm", 512)


def test_the_canary_gets_a_token(cluster: Cluster) -> None:
    result = cluster.run("canary seconds=120")["canary"]
    assert result.status is Status.OK, (result, cluster.say())
    assert result.summary.startswith("1 token in ")


def test_the_metrics_count_what_was_generated(cluster: Cluster) -> None:
    before = cluster.read(ENGINE, HEAD).metrics
    answer = api.parse_completion(
        cluster.script(api.generate_script(PORT, tiny_model.NAME, 40, timeout=60, chunk=16))
    )
    after = cluster.read(ENGINE, HEAD).metrics
    assert (answer.ok, answer.completion_tokens) == (True, 40), answer
    assert metrics.generated(before, after) == 40
    assert metrics.prompted(before, after) == answer.prompt_tokens > 0
    assert (after.requests_succeeded or 0) - (before.requests_succeeded or 0) == 3
    assert (after.running, after.waiting, after.preemptions) == (0, 0, 0)
    assert None not in (after.kv_cache_usage, after.ttft_sum, after.itl_sum, after.itl_count)


def test_the_verdict_is_socket(cluster: Cluster) -> None:
    """Tokens flow over the veth pair, and there is no RDMA device that could have carried them."""
    run = cluster.begin("rdma-verdict tokens=64")
    results = {result.host: result for result in run.apply(run.plan())}
    verdict = rdma_verdict.verdict(run.view(HEAD))
    assert verdict is not None
    assert verdict.kind == "socket", (verdict, cluster.say())
    assert results[HEAD].status is Status.FAILED
    assert results[HEAD].summary.startswith(verdict.code or "?")
    carried = [reason for reason in verdict.reasons if ": enp1s0f1np1 carried " in reason.text]
    assert len(carried) == 2, verdict.reasons


def test_a_hanging_rank_is_seen_by_the_canary_and_the_metrics(cluster: Cluster) -> None:
    """A stopped process: its container runs, /health is 200, and no token comes."""
    rank = rank_process(cluster)
    with requests_running(cluster):
        os.kill(rank, signal.SIGSTOP)
        try:
            first = cluster.read(ENGINE, HEAD).metrics
            answer = api.parse_completion(
                cluster.script(api.canary_script(PORT, tiny_model.NAME, timeout=3))
            )
            second = cluster.read(ENGINE, HEAD)
        finally:
            os.kill(rank, signal.SIGCONT)
    assert (answer.ok, answer.status) == (False, None)
    assert "timed out" in answer.error
    assert second.healthy
    assert first.running and second.metrics.running, (first, second)
    assert metrics.generated(first, second.metrics) == 0, (first, second)


def test_a_killed_rank_is_noticed_although_health_stays_200(cluster: Cluster) -> None:
    """The headless process ends with status 0 when its rank is killed: only its end tells."""
    os.kill(rank_process(cluster), signal.SIGKILL)
    eventually(lambda: dead(cluster), 60)
    (sentence,) = dead(cluster)
    assert sentence.startswith("spark-3 (rank 1) is dead, while /health answers 200: vllm-worker")

    result = cluster.run("rdma-verdict tokens=8")["rdma-verdict"]
    assert result.error is not None
    assert result.error.code == "RDMA016", result
    assert cluster.read(ENGINE, HEAD).healthy, "asking for the verdict must not end the server"


def test_the_canary_fails_at_once_without_the_rank(cluster: Cluster) -> None:
    begun = time.monotonic()
    result = cluster.run("canary seconds=120")["canary"]
    assert time.monotonic() - begun < 30
    assert result.status is Status.FAILED
    assert "HTTP 500" in result.summary, result
    eventually(lambda: cluster.head.exited, 60)
    failure = cluster.read(SERVER, HEAD).progress.failure
    assert failure is not None
    assert failure.reason == "the rank at 192.168.100.11 is gone: it closed the connection"


def rank_process(cluster: Cluster) -> int:
    """The worker's rank 1: the process that vLLM names so, not its parents."""
    (found,) = [pid for pid, title in cluster.worker.node.processes() if "VLLM::Worker" in title]
    return found


@contextlib.contextmanager
def requests_running(cluster: Cluster) -> Iterator[None]:
    """Two clients that ask again and again, so that a token is always on its way."""
    script = api.generate_script(PORT, tiny_model.NAME, 40_000, timeout=60, chunk=400)
    node = cluster.head.node
    for _ in range(2):
        node.start(["sh", "-c", script], {}, subprocess.DEVNULL)
    try:
        eventually(lambda: cluster.read(ENGINE, HEAD).metrics.running == 2, 60)
        yield
    finally:
        eventually(lambda: not _end_clients(cluster))
    eventually(lambda: cluster.read(ENGINE, HEAD).metrics.running == 0, 30)


def _end_clients(cluster: Cluster) -> list[int]:
    """Kill the clients; gives those that were found."""
    processes = cluster.head.node.processes()
    found = [pid for pid, command in processes if "/v1/completions" in command]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def dead(cluster: Cluster) -> list[str]:
    facts = {name: host.read([CONTAINERS, ENGINE]) for name, host in cluster.session.hosts.items()}
    found = served.served(facts)
    assert found is not None
    return [rank.what for rank in served.dead(found, facts)]
