"""Answers of the stand-in have the shapes that the real programs were recorded with."""

from __future__ import annotations

import array
import fcntl
import json
import re
import socket
import termios
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from spark_cluster.lab.engine import dashboard, driver, model, spawn, tcp, traffic, verbs
from spark_cluster.lab.engine.metrics import Metrics, number, one_two_five
from spark_cluster.lab.engine.words import words
from spark_cluster.rdma.volume import need_per_token, off_volume

DATA = Path(__file__).parent / "data"
STABLE = [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:inter_token_latency_seconds_bucket",
    "vllm:num_preemptions_total",
    "vllm:request_success_total",
]


def _node(ip: str, head: bool, state: str = "ALIVE") -> dict[str, Any]:
    resources = {"CPU": 1.0, "GPU": 1.0, "memory": 2.4e10, "object_store_memory": 2e8}
    resources[f"node:{ip}"] = 1.0
    if head:
        resources["node:__internal_head__"] = 1.0
    return {
        "node_id": ip.replace(".", "") * 5,
        "ip": ip,
        "head": head,
        "hostname": "vm",
        "name": ip,
        "pid": 1,
        "start_ms": 1,
        "end_ms": 0,
        "boot": 1.0,
        "resources": resources,
        "stats": {"mem_total": 2, "mem_available": 1, "load": [0.1, 0.2, 0.3], "now": 1.0},
        "state": state,
        "state_message": None,
        "gpus_used": 0.0,
    }


NODES = [_node("192.168.100.10", True), _node("192.168.100.11", False)]


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {re.sub(r"node:[\d.]+", "node:IP", key): _shape(val) for key, val in value.items()}
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return type(value).__name__


def test_ray_nodes_have_the_recorded_shape() -> None:
    real = json.loads((DATA / "ray/ray_api_v0_nodes.json").read_text())
    assert _shape(dashboard.api_nodes(NODES)) == _shape(real)


def test_ray_summary_is_part_of_the_recorded_shape() -> None:
    real = json.loads((DATA / "engine/ray_nodes_view_summary.json").read_text())
    mine = dashboard.api_summary(NODES, 1)
    assert mine["msg"] == real["msg"]
    for ours, theirs in zip(mine["data"]["summary"], real["data"]["summary"], strict=True):
        assert set(ours) <= set(theirs)
        assert set(ours["raylet"]) <= set(theirs["raylet"])
        resources = _shape(theirs["raylet"]["resourcesTotal"])
        assert _shape(ours["raylet"]["resourcesTotal"]) == resources


def test_dead_nodes_are_listed_and_not_counted() -> None:
    nodes = [NODES[0], {**NODES[1], "state": "DEAD", "state_message": "gone"}]
    listed = dashboard.api_nodes(nodes)["data"]["result"]["result"]
    assert [node["state"] for node in listed] == ["ALIVE", "DEAD"]
    assert listed[1]["resources_total"] == {}
    assert " 0.0/1.0 GPU" in dashboard.status_text(nodes)


def test_ray_status_is_the_recorded_text() -> None:
    def normal(text: str) -> str:
        text = re.sub(r"node_\w+", "node_ID", text)
        text = re.sub(r"status: [\d\-:. ]+ =", "status: TIME =", text)
        return re.sub(r"/[\d.]+(GiB|MiB)", "/SIZE", text).strip()

    real = (DATA / "ray/ray_status.txt").read_text()
    assert normal(dashboard.status_text(NODES)) == normal(real)


def test_ray_status_with_gpus_in_use() -> None:
    nodes = [{**node, "gpus_used": 1.0} for node in NODES]
    line = " 2.0/2.0 GPU (2.0 used of 2.0 reserved in placement groups)"
    assert line in dashboard.status_text(nodes)


def _samples(text: str) -> dict[str, set[str]]:
    """Metric name -> its label names."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([\w:]+)(?:\{(.*)\})? [\d.e+\-]+", line)
            assert match, line
            found.setdefault(match[1], set()).update(re.findall(r'(\w+)="', match[2] or ""))
    return found


def test_metrics_have_vllms_names_and_labels() -> None:
    page = Metrics("m", 4096, {"engine": "0", "block_size": 16})
    page.count("generation_tokens", 72)
    page.observe("time_to_first_token_seconds", 0.0155)
    page.success("length")
    page.http("POST", "/v1/completions", 200)
    mine = _samples(page.text())
    real = _samples((DATA / "vllm/metrics-0.32-tp2.txt").read_text())
    assert set(STABLE) <= set(mine)
    for name in set(mine) & set(real):
        if name != "vllm:cache_config_info":
            assert mine[name] == real[name], name
    assert 'vllm:generation_tokens_total{engine="0",model_name="m"} 72.0' in page.text()
    bucket = 'vllm:time_to_first_token_seconds_bucket{engine="0",le="0.02",model_name="m"} 1.0'
    assert bucket in page.text()
    assert 'finished_reason="length",model_name="m"} 1.0' in page.text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(16, "16.0"), (0.5, "0.5"), (1795213866.2343028, "1.7952138662343028e+09"), (0, "0.0")],
)
def test_numbers_as_prometheus_prints_them(value: float, text: str) -> None:
    assert number(value) == text


def test_buckets() -> None:
    assert one_two_five(100) == [1, 2, 5, 10, 20, 50, 100]


def test_environment_that_the_driver_copies() -> None:
    env = {
        "NCCL_NET": "IB",
        "VLLM_USE_V1": "1",
        "VLLM_HOST_IP": "192.168.100.10",
        "UCX_NET_DEVICES": "a",
        "HF_HOME": "/x",
        "GLOO_SOCKET_IFNAME": "a",
        "TP_SOCKET_IFNAME": "a",
        "PATH": "/bin",
    }
    assert set(spawn.copied_environment(env)) == {
        "NCCL_NET",
        "VLLM_USE_V1",
        "UCX_NET_DEVICES",
        "HF_HOME",
    }


def test_what_the_users_file_excludes_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "ray_non_carry_over_env_vars.json").write_text('["NCCL_IB_HCA"]')
    env = {"NCCL_NET": "IB", "NCCL_IB_HCA": "=a:1", "VLLM_CONFIG_ROOT": str(tmp_path)}
    assert set(spawn.copied_environment(env)) == {"NCCL_NET", "VLLM_CONFIG_ROOT"}


def test_load_times() -> None:
    assert driver.load_times("") == (2.0, 1.0)
    assert driver.load_times("60") == (40.0, 20.0)
    assert driver.load_times("weights=5,profile=7") == (5.0, 7.0)


def _unread(sock: socket.socket) -> int:
    found = array.array("i", [0])
    fcntl.ioctl(sock, termios.FIONREAD, found)
    return found[0]


def _hub(root: Path, config: dict[str, Any], *, weights: bool = True) -> dict[str, str]:
    folder = root / "hub/models--org--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("abc")
    snapshot = folder / "snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(config))
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / "model-1.safetensors").write_bytes(b"x")
    if weights:
        (snapshot / "model-2.safetensors").write_bytes(b"x")
    return {"HF_HOME": str(root)}


def test_model_sizes_are_those_of_the_config(tmp_path: Path) -> None:
    text = {"num_hidden_layers": 94, "hidden_size": 4096, "max_position_embeddings": 262144}
    env = _hub(tmp_path, {"architectures": ["X"], "text_config": text})
    found = model.find_model("org/name", env)
    assert (found.layers, found.hidden) == (94, 4096)
    assert (found.context, found.shards, found.architecture) == (262144, 2, "X")


@pytest.mark.parametrize(("tp", "pp"), [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3), (2, 2)])
def test_the_ranks_move_what_the_verdict_expects(tp: int, pp: int) -> None:
    """In one ring a stage's last rank hands on for all; otherwise each rank as rdma/volume.py."""
    links = traffic.links(94, 4096, tp, pp)
    needs = [
        need_per_token(94, 4096, tensor_parallel=tp, pipeline_parallel=pp, rank=rank)
        for rank in range(tp * pp)
    ]
    assert len(links) == len(needs)
    for rank, need in enumerate(needs):
        if tp == 1 or pp == 1:
            assert (links[rank], links[rank - 1]) == (int(need.sent), int(need.received))
        else:
            for moved, needed in ((links[rank], need.sent), (links[rank - 1], need.received)):
                assert off_volume(moved, 1, 0, needed) is None


def test_a_given_volume_does_not_make_a_pipeline_two_way() -> None:
    assert traffic.links(94, 4096, 2, 1, 5000) == (5000, 5000)
    assert traffic.links(94, 4096, 1, 2, 5000) == (5000, 0)


def test_bytes_go_only_where_there_are_any() -> None:
    """Two ranks in a ring of sockets: forward only, both ways, and none at all."""
    (a_next, b_prev), (b_next, a_prev) = socket.socketpair(), socket.socketpair()
    first, second = tcp.TcpTransport(a_next, a_prev), tcp.TcpTransport(b_next, b_prev)
    for step, (forward, back) in enumerate([(16384, 0), (3 << 20, 2 << 20), (1, 1), (0, 0)]):
        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(first.exchange, step, forward, back, 20.0),
                pool.submit(second.exchange, step, back, forward, 20.0),
            ]
            for each in both:
                each.result()
        left = [_unread(sock) for sock in (a_prev, b_prev)]
        assert left == [0, 0]
    first.close()
    second.close()


def test_ranks_that_disagree_about_the_bytes() -> None:
    (a_next, b_prev), (b_next, a_prev) = socket.socketpair(), socket.socketpair()
    first, second = tcp.TcpTransport(a_next, a_prev), tcp.TcpTransport(b_next, b_prev)
    first.exchange(1, 2000, 0)
    with pytest.raises(tcp.TransferError, match="disagree"):
        second.exchange(1, 0, 1000)


@pytest.mark.parametrize("nbytes", [0, 16, verbs.CHUNK, verbs.CHUNK + 1, verbs.BUFFER + 5])
def test_the_writes_of_a_step(nbytes: int) -> None:
    found = verbs.chunks(nbytes)
    assert sum(length for _, length, _ in found) == nbytes
    assert [last for _, _, last in found] == [False] * (len(found) - 1) + [True] * bool(found)
    assert all(at + length <= verbs.BUFFER for at, length, _ in found)


def test_model_that_is_not_complete(tmp_path: Path) -> None:
    env = _hub(tmp_path, {}, weights=False)
    with pytest.raises(model.ModelError, match=r"model-2\.safetensors"):
        model.find_model("org/name", env)
    with pytest.raises(model.ModelError, match="couldn't connect"):
        model.find_model("org/other", env)


def test_words_end_once_and_go_on() -> None:
    stream = words("hello there")
    first = []
    for word, end in stream:
        first.append(word)
        if end:
            break
    text = "".join(first)
    assert "lab's stand-in" in text
    assert text.endswith("Your prompt had 2 words.")
    assert next(stream)[0].startswith(" ")
