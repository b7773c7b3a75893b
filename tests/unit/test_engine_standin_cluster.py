"""Head, worker and `vllm serve` as real processes on loopback: two "containers" on one machine."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import spark_cluster.lab.engine

BIN = Path(spark_cluster.lab.engine.__file__).parent / "bin"
DATA = Path(__file__).parent / "data"
MODEL = "org/name"
LIMIT = 60.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {LIMIT:.0f} s: {what}")


class Cluster:
    """Two Ray nodes with separate temporary folders, and one engine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gcs, self.dashboard, self.api = free_port(), free_port(), free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        folder = root / "hf/hub/models--org--name"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs/main").write_text("abc")
        (folder / "snapshots/abc").mkdir(parents=True)
        config = {"num_hidden_layers": 4, "hidden_size": 256, "max_position_embeddings": 4096}
        (folder / "snapshots/abc/config.json").write_text(json.dumps(config))
        (folder / "snapshots/abc/model.safetensors").write_bytes(b"x" * 1000)

    def env(self, ip: str, **extra: str) -> dict[str, str]:
        plain = {
            k: v for k, v in os.environ.items() if not k.startswith(("NCCL_", "VLLM_", "RAY_"))
        }
        return {
            **plain,
            "NVIDIA_VISIBLE_DEVICES": "all",
            "VLLM_HOST_IP": ip,
            "RAY_TMPDIR": str(self.root / ip),
            "HF_HOME": str(self.root / "hf"),
            "HF_HUB_OFFLINE": "1",
            "NCCL_DEBUG": "INFO",
            "NCCL_SOCKET_IFNAME": "lo",
            "SPARK_LAB_LOAD_SECONDS": "0.2",
            "SPARK_LAB_MODEL_MIB": "8",
            "SPARK_LAB_PG_WAIT_SECONDS": "1",
            **extra,
        }

    def start(self, name: str, argv: list[str], ip: str, **extra: str) -> subprocess.Popen[bytes]:
        with (self.root / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                argv, env=self.env(ip, **extra), stdout=log, stderr=subprocess.STDOUT
            )
        self.processes[name] = process
        return process

    def head(self, **extra: str) -> None:
        argv = f"start --head --block --port={self.gcs} --node-ip-address=127.0.0.1"
        argv += f" --dashboard-port={self.dashboard} --num-gpus=1 --disable-usage-stats"
        self.start("head", [str(BIN / "ray"), *argv.split()], "127.0.0.1", **extra)

    def worker(self, **extra: str) -> None:
        argv = f"start --block --address=127.0.0.1:{self.gcs} --node-ip-address=127.0.0.2"
        argv += " --num-gpus=1"
        self.start("worker", [str(BIN / "ray"), *argv.split()], "127.0.0.2", **extra)

    def vllm(self, *flags: str, **extra: str) -> subprocess.Popen[bytes]:
        argv = [str(BIN / "vllm"), "serve", MODEL, "--tensor-parallel-size", "2"]
        argv += ["--distributed-executor-backend", "ray", "--host", "127.0.0.1"]
        argv += ["--port", str(self.api), *flags]
        return self.start("vllm", argv, "127.0.0.1", **extra)

    def node(self, rank: int, *flags: str, **extra: str) -> subprocess.Popen[bytes]:
        """One node of the mp executor: no Ray."""
        argv = [str(BIN / "vllm"), "serve", MODEL, "--nnodes", "2", "--node-rank", str(rank)]
        argv += ["--master-addr", "127.0.0.1", "--master-port", str(self.gcs)]
        argv += ["--host", "127.0.0.1", "--port", str(self.api), *flags]
        argv += [] if rank == 0 else ["--headless"]
        env = {"SPARK_LAB_VLLM_VERSION": "0.20.1", **extra}
        return self.start("vllm" if rank == 0 else "worker", argv, f"127.0.0.{rank + 1}", **env)

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")

    def rank_said(self, rank: int) -> str:
        """A rank's own lines: with Ray they are in a file of its session."""
        folder = self.root / f"127.0.0.{rank + 1}/ray/session_latest/logs"
        files = [*folder.glob("worker-*.out"), *folder.glob("worker-*.err")]
        return "".join(file.read_text(errors="replace") for file in files)

    def ask(
        self, path: str, body: object = None, port: int | None = None
    ) -> tuple[int, bytes] | None:
        link = http.client.HTTPConnection("127.0.0.1", port or self.api, timeout=30)
        try:
            data = None if body is None else json.dumps(body)
            link.request("GET" if body is None else "POST", path, data)
            answer = link.getresponse()
            return answer.status, answer.read()
        except OSError:
            return None
        finally:
            link.close()

    def nodes(self) -> list[str]:
        """The states, by address: the worker may register before the head's own raylet."""
        answer = self.ask("/api/v0/nodes", port=self.dashboard)
        if not answer:
            return []
        nodes = json.loads(answer[1])["data"]["result"]["result"]
        return [node["state"] for node in sorted(nodes, key=lambda node: str(node["node_ip"]))]

    def joined(self) -> None:
        until(lambda: self.nodes() == ["ALIVE", "ALIVE"], "both nodes ALIVE")

    def serving(self) -> None:
        def healthy() -> bool:
            assert self.processes["vllm"].poll() is None, self.log("vllm")
            answer = self.ask("/health")
            return answer is not None and answer[0] == 200

        until(healthy, "/health")

    def metric(self, name: str) -> float:
        answer = self.ask("/metrics")
        assert answer
        match = re.search(rf"^{re.escape(name)}\{{[^}}]*\}} (\S+)$", answer[1].decode(), re.M)
        assert match, name
        return float(match[1])

    def close(self) -> None:
        for name in ("vllm", "worker", "head"):
            process = self.processes.get(name)
            if process and process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    try:
        yield found
    finally:
        found.close()


def test_two_ranks_serve_and_a_killed_rank_ends_them(cluster: Cluster) -> None:
    cluster.head()
    cluster.worker()
    cluster.joined()
    vllm = cluster.vllm("--scheduling-policy", "priority")
    cluster.serving()

    # Milestones, and the network of each rank in Ray's own files.
    text = cluster.log("vllm")
    for mark in (
        "init engine (profile, create kv cache, warmup model) took",
        "Starting vLLM API server",
        "Application startup complete.",
    ):
        assert mark in text
    for rank in (0, 1):
        said = cluster.rank_said(rank)
        assert f"rank {rank} in world size 2 is assigned as" in said
        assert "via NET/Socket/0" in said
        assert "Loading weights took" in said
        assert "Available KV cache memory" in said
    for name in ("head", "worker"):
        assert "NCCL" not in cluster.log(name)

    # Completions: counted, in the recorded shape, streamed, and refused where wrong.
    before = cluster.metric("vllm:generation_tokens_total")
    status, body = cluster.ask(
        "/v1/completions", {"prompt": "Hello there", "max_tokens": 64, "ignore_eos": True}
    ) or (0, b"")
    answer = json.loads(body)
    assert status == 200
    assert answer["usage"]["completion_tokens"] == 64
    assert cluster.metric("vllm:generation_tokens_total") - before == 64
    real = json.loads((DATA / "vllm/vllm_completion.json").read_text())
    assert set(answer) <= set(real)
    assert set(answer["choices"][0]) <= set(real["choices"][0])
    models = json.loads((cluster.ask("/v1/models") or (0, b"{}"))[1])
    real = json.loads((DATA / "vllm/vllm_models.json").read_text())
    assert set(models["data"][0]) == set(real["data"][0])
    assert models["data"][0]["owned_by"] == "spark-lab"

    stream = {
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
        "priority": 1,
    }
    _, body = cluster.ask("/v1/chat/completions", stream) or (0, b"")
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    for wrong, code in (({"model": "no", "prompt": "x"}, 404), ({"max_tokens": 5}, 400)):
        assert (cluster.ask("/v1/completions", wrong) or (0, b""))[0] == code

    # `ray status` counts the GPUs in use.
    status_text = subprocess.run(
        [BIN / "ray", "status"],
        env=cluster.env("127.0.0.1"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert " 2.0/2.0 GPU (2.0 used of 2.0 reserved in placement groups)" in status_text

    # Rank 1 dies: /health does not see it, the next completion does, and the server ends.
    (file,) = (cluster.root / "127.0.0.2/ray/session_latest/logs").glob("worker-*.out")
    pid = int(file.stem.rpartition("-")[2])
    assert Path(f"/proc/{pid}/comm").read_text().strip() == "VLLM::Worker_TP"
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    assert (cluster.ask("/health") or (0, b""))[0] == 200
    assert (cluster.ask("/v1/completions", {"prompt": "x"}) or (0, b""))[0] == 500
    vllm.wait(LIMIT)
    assert "ActorDiedError" in cluster.log("vllm")


@pytest.mark.parametrize("flag", ["--tensor-parallel-size", "--pipeline-parallel-size"])
def test_two_nodes_serve_without_ray(cluster: Cluster, flag: str) -> None:
    worker = cluster.node(1, flag, "2")
    head = cluster.node(0, flag, "2", SPARK_LAB_NCCL_REMOTE_SECONDS="3")
    cluster.serving()
    assert "rank 0 in world size 2 is assigned as" in cluster.log("vllm")
    assert "rank 1 in world size 2 is assigned as" in cluster.log("worker")
    assert "rank 1" not in cluster.log("vllm")
    for name in ("vllm", "worker"):
        assert "via NET/Socket/0" in cluster.log(name)
    body = {"prompt": "x", "max_tokens": 8, "ignore_eos": True}
    assert (cluster.ask("/v1/completions", body) or (0, b""))[0] == 200
    assert cluster.metric("vllm:generation_tokens_total") == 8

    # The worker goes: /health does not see it, and the next completion waits until NCCL gives up.
    worker.terminate()
    assert worker.wait(LIMIT) == 128 + signal.SIGTERM
    assert (cluster.ask("/health") or (0, b""))[0] == 200
    begun = time.monotonic()
    assert (cluster.ask("/v1/completions", {"prompt": "x"}) or (0, b""))[0] == 500
    assert time.monotonic() - begun >= 3.0
    head.wait(LIMIT)
    assert "EngineDeadError" in cluster.log("vllm")


def test_one_node_serves_alone(cluster: Cluster) -> None:
    cluster.start(
        "vllm",
        [str(BIN / "vllm"), "serve", MODEL, "--host", "127.0.0.1", "--port", str(cluster.api)],
        "127.0.0.1",
    )
    cluster.serving()
    body = {"prompt": "x", "max_tokens": 8, "ignore_eos": True}
    assert (cluster.ask("/v1/completions", body) or (0, b""))[0] == 200
    assert "NET/" not in cluster.log("vllm")


def test_one_gpu_is_not_enough(cluster: Cluster) -> None:
    cluster.head()
    until(lambda: cluster.nodes() == ["ALIVE"], "head ALIVE")
    vllm = cluster.vllm()
    assert vllm.wait(LIMIT) == 1
    log = cluster.log("vllm")
    # The warning stands in the log of every start on hosts with one GPU each; this is the end.
    assert "WARNING" in log.partition("Tensor parallel size (2) exceeds available GPUs (1)")[0]
    assert "ValueError: Cannot provide a placement group" in log


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"NCCL_NET": "IB", "NCCL_IB_HCA": "=none"}, "NCCL error: invalid usage"),
        ({"VLLM_HOST_IP": "127.0.0.9"}, "Cannot provide a placement group"),
        ({"VLLM_ATTENTION_BACKEND": "NO_SUCH"}, "Invalid attention backend: 'NO_SUCH'"),
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, "Failed to infer device type"),
    ],
)
def test_the_engine_does_not_start(cluster: Cluster, extra: dict[str, str], expected: str) -> None:
    cluster.head()
    cluster.worker()
    cluster.joined()
    vllm = cluster.vllm(**extra)
    assert vllm.wait(LIMIT) == 1
    assert expected in cluster.log("vllm")
    if "NCCL_NET" in extra:
        # The driver's variables went over the ranks' own, as vLLM copies them. What NCCL says of
        # it stays in the buffers of processes that Ray kills.
        assert "NET/IB" not in cluster.rank_said(0) + cluster.rank_said(1)


def test_a_stopped_worker_is_dead_on_the_head(cluster: Cluster) -> None:
    cluster.head()
    cluster.worker()
    cluster.joined()
    cluster.processes["worker"].terminate()
    assert cluster.processes["worker"].wait(LIMIT) == 0
    until(lambda: cluster.nodes() == ["ALIVE", "DEAD"], "worker DEAD")


def test_a_worker_without_its_head_ends(cluster: Cluster) -> None:
    cluster.head()
    cluster.worker(RAY_gcs_rpc_server_reconnect_timeout_s="1")
    cluster.joined()
    cluster.processes["head"].kill()
    assert cluster.processes["worker"].wait(LIMIT) == 1
    assert "raylet [exit code=1]" in cluster.log("worker")


def test_a_node_without_the_gpu_registers_none(cluster: Cluster) -> None:
    argv = f"start --head --block --port={cluster.gcs} --node-ip-address=127.0.0.1"
    argv += f" --dashboard-port={cluster.dashboard}"
    command = [str(BIN / "ray"), *argv.split()]
    cluster.start("head", command, "127.0.0.1", NVIDIA_VISIBLE_DEVICES="void")
    answer = until(lambda: cluster.ask("/api/v0/nodes", port=cluster.dashboard), "dashboard")
    (node,) = until(
        lambda: json.loads((cluster.ask("/api/v0/nodes", port=cluster.dashboard) or answer)[1])[
            "data"
        ]["result"]["result"],
        "the head's node",
    )
    assert "GPU" not in node["resources_total"]
    assert (cluster.ask("/api/gcs_healthz", port=cluster.dashboard) or (0, b""))[1] == b"success"


def test_the_wedge_freezes_generation_and_not_the_api(cluster: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "wedge"
    cluster.head()
    cluster.worker()
    cluster.joined()
    cluster.vllm(SPARK_LAB_WEDGE_FILE=str(mark))
    cluster.serving()
    mark.touch()
    body = {"prompt": "x", "max_tokens": 8, "ignore_eos": True}
    link = http.client.HTTPConnection("127.0.0.1", cluster.api, timeout=LIMIT)
    link.request("POST", "/v1/completions", json.dumps(body))
    until(lambda: cluster.metric("vllm:num_requests_running") == 1, "a running request")
    time.sleep(1.0)
    assert cluster.metric("vllm:generation_tokens_total") == 0
    assert (cluster.ask("/health") or (0, b""))[0] == 200
    mark.unlink()
    assert link.getresponse().status == 200
    link.close()
    assert cluster.metric("vllm:generation_tokens_total") == 8
