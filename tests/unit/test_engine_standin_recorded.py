"""The stand-in's starts, wedge and deaths beside those of a real vLLM on GPUs.

What is compared is the sequence of events: which process said what kind of thing at which level,
and in which container's log or file it stands. The recordings are in data/engine/gpu.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from spark_cluster.serving import milestones
from tests.unit.test_engine_standin_cluster import LIMIT, MODEL, Cluster, until

RECORDED = Path(__file__).parent / "data/engine/gpu"
ENV = {
    "SPARK_LAB_VLLM_VERSION": "0.23.0",
    "NCCL_DEBUG_SUBSYS": "INIT,NET,ENV",
    "NCCL_IB_HCA": "=rocep1s0f1:1",
    "NCCL_NET_PLUGIN": "none",
    "NCCL_DMABUF_ENABLE": "0",
    "NCCL_NVLS_ENABLE": "0",
}
"""The release and the settings under which the logs were recorded."""

KINDS = (
    ("arguments", r"non-default args: \{"),
    ("offline path", r"HF_HUB_OFFLINE is True, replace model_id \[\S+\] to model_path \[/\S+\]$"),
    ("architecture", r"Resolved architecture: \w+$"),
    ("context", r"Using max model len \d+$"),
    ("engine", r"Initializing a V1 LLM engine \(v0\.23\.0\) with config: model='/"),
    ("too few GPUs here", r"Tensor parallel size \(2\) exceeds available GPUs \(1\)\. "),
    ("connecting to Ray", r"worker\.py:1814 -- Connecting to existing Ray cluster at address: "),
    ("connected to Ray", r"worker\.py:2003 -- Connected to Ray cluster\."),
    ("placement group", r"Creating a new placement group\.$"),
    ("spread", r"tensor_parallel_size=2 is bigger than a reserved number of GPUs \(1 GPUs\)"),
    ("leader", r"DP group leader: node_rank=0, node_rank_within_dp=0, master_addr=[\d.]+, "),
    ("headless", r"Launching vLLM \(v0\.23\.0\) headless multiproc executor, with head node "),
    ("rendezvous", r"world_size=2 rank=\d local_rank=0 distributed_init_method=tcp://\S+ backend="),
    ("NCCL's version", r"vLLM is using nccl==2\.28\.9$"),
    (
        "assigned",
        r"rank \d in world size 2 is assigned as DP rank 0, PP rank 0, PCP rank 0, TP rank \d, "
        r"EP rank \d, EPLB rank N/A$",
    ),
    ("loading", r"Starting to load model /\S+\.\.\.$"),
    ("loaded", r"Model loading took \d+\.\d GiB memory and \d+\.\d{6} seconds$"),
    ("cache memory", r"Available KV cache memory: [\d.]+ GiB$"),
    ("graphs", r"Graph capturing finished in \d+ secs, took \d\.\d\d GiB$"),
    ("blocks", r"Overriding num_gpu_blocks=\d+ with num_gpu_blocks_override=\d+$"),
    ("cache", r"GPU KV cache size: [\d,]+ tokens$"),
    ("concurrency", r"Maximum concurrency for [\d,]+ tokens per request: [\d.]+x$"),
    ("initialised", r"init engine \(profile, create kv cache, warmup model\) took [\d.]+ s \(comp"),
    ("server", r"Starting vLLM server on http://[\d.]+:\d+$"),
    ("routes", r"Available routes are:$"),
    ("process", r"Started server process \[\d+\]$"),
    ("startup", r"Waiting for application startup\.$"),
    ("ready", r"Application startup complete\.$"),
    ("Ray tells", r"A worker died or was killed while executing a task by an unexpected system er"),
    (
        "rank died",
        r"(?:RayWorkerProc rank=\[\d\]|Worker proc VllmWorker-\d) died unexpectedly, shut",
    ),
    ("engine failed", r"EngineCore encountered a fatal error\.$"),
    ("output failed", r"AsyncLLM output_handler failed\.$"),
    ("unhealthy", r'"GET /health HTTP/1\.1" 503 Service Unavailable$'),
    ("shutting down", r"Shutting down$"),
    ("shutdown", r"Waiting for application shutdown\.$"),
    ("shut down", r"Application shutdown complete\.$"),
    ("process ended", r"Finished server process \[\d+\]$"),
    ("client closed", r"\[shutdown\] MPClient: complete$"),
    ("engine not started", r"EngineCore failed to start\.$"),
    ("rank not started", r"WorkerProc failed to start\.$"),
    ("rank not killed", r"Failed to kill actor rank=\d$"),
    ("engine ends", r"Process EngineCore:$"),
    ("ranks ended", r"\[shutdown\] Executor: all workers exited gracefully$"),
    ("exception", r"((?:[a-zA-Z_]\w*\.)*(?:\w+Error(?:\(\w+\))?|Exception): .*)$"),
)
_KINDS = [(kind, re.compile(pattern)) for kind, pattern in KINDS]
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PROCESS = re.compile(r"\((?P<who>[A-Z]\w*) pid=\d+\) ?")
_RAYS = re.compile(r"\((?:(?P<actor>\w+) )?pid=(?P<pid>\d+)(?:, ip=(?P<ip>[\d.]+))?\) |\(raylet\) ")
_LEVEL = re.compile(r"(INFO|WARNING|ERROR) \d\d-\d\d \d\d:\d\d:\d\d \[[\w.]+:\d+\] ")
_NCCL = re.compile(r"^[\w.-]+:\d+:\d+ \[0\] NCCL INFO (.*?)(?:\(Worker.*)?$")


class Event(NamedTuple):
    """`source` is empty for what the log's own processes say, otherwise who Ray's line is from."""

    source: str
    who: str
    level: str
    kind: str


def _parse(line: str) -> Event | None:
    text = _COLOUR.sub("", line)
    who = source = ""
    if found := _PROCESS.search(text):
        # NCCL's half lines stand before it.
        who, text = found["who"], text[found.end() :]
    if found := _RAYS.match(text):
        source = f"{found['actor']} at {found['ip'] or 'home'}" if found["pid"] else "raylet"
        text = text[found.end() :]
        inner = _PROCESS.match(text)
        who, text = (inner["who"], text[inner.end() :]) if inner else (who, text)
    level = ""
    if found := _LEVEL.search(text):
        level, text = found[1], text[found.end() :]
    for kind, pattern in _KINDS:
        if found := pattern.search(text):
            if kind == "exception":
                # Its class and how it begins: numbers, paths and advice differ.
                kind = re.sub(r"[\d.]+|[0-9a-f]{8,}", "N", found[1])[:45]
            return Event(source, who, level, kind)
    return None


def events(text: str) -> list[Event]:
    """In order, and several of one kind in a row as one."""
    found = [event for line in text.split("\n") if (event := _parse(line))]
    return [event for i, event in enumerate(found) if i == 0 or event != found[i - 1]]


def own(text: str) -> list[Event]:
    return [event for event in events(text) if not event.source]


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def nccl(text: str) -> list[str]:
    """What NCCL said until its first communicator was there; the proxy's threads are not in order
    even in one recording."""
    found = [match[1] for line in text.split("\n") if (match := _NCCL.match(line))]
    end = next((i for i, line in enumerate(found) if line.endswith("Init COMPLETE")), len(found))
    lines = [line for line in found[: end + 1] if not line.startswith("[Proxy")]
    plain = [re.sub(r"enp1s0f1np1|\blo\b", "IF", line) for line in lines]
    return [
        re.sub(r"0x[0-9a-f]+|busId \w+|CPU affinity = \S+|\d+(?:\.\d+)+", "N", x) for x in plain
    ]


def well_at_every_line(*logs: str) -> None:
    """No part of a healthy log speaks for a failure (serving/failures.py)."""
    for log in logs:
        lines = log.split("\n")
        for end in range(len(lines) + 1):
            found = milestones.read("\n".join(lines[:end])).failure
            assert found is None, (end, lines[end - 1], found)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    try:
        yield found
    finally:
        found.close()


def over_ray(cluster: Cluster, *flags: str, **extra: str) -> subprocess.Popen[bytes]:
    cluster.head(**ENV)
    cluster.worker(**ENV)
    cluster.joined()
    return cluster.vllm("--num-gpu-blocks-override", "34000", *flags, **ENV, **extra)


def rank_file(cluster: Cluster, rank: int, end: str = "out") -> Path:
    folder = cluster.root / f"127.0.0.{rank + 1}/ray/session_latest/logs"
    (found,) = folder.glob(f"worker-*-01000000-*.{end}")
    return found


def rank_pid(cluster: Cluster, rank: int) -> int:
    return int(rank_file(cluster, rank).stem.rpartition("-")[2])


def health(cluster: Cluster) -> int:
    answer = cluster.ask("/health")
    return answer[0] if answer else 0


def start_a_request(cluster: Cluster) -> http.client.HTTPConnection:
    link = http.client.HTTPConnection("127.0.0.1", cluster.api, timeout=LIMIT)
    body = {"prompt": "x", "max_tokens": 8, "ignore_eos": True}
    link.request("POST", "/v1/completions", json.dumps(body))
    return link


# -- over Ray ---------------------------------------------------------------------------------


def test_a_start_over_ray(cluster: Cluster) -> None:
    over_ray(cluster)
    cluster.serving()
    log = cluster.log("vllm")
    assert own(log) == own(recorded("ray/head.log"))

    # Each rank's own lines are complete in Ray's file on its host, and only there.
    for rank in (0, 1):
        mine, real = rank_file(cluster, rank).read_text(), recorded(f"ray/rank{rank}.out")
        assert mine.startswith(":job_id:01000000\n:actor_name:RayWorkerProc\n")
        assert real.startswith(":job_id:01000000\n:actor_name:RayWorkerProc\n")
        assert events(mine) == events(real)
        assert nccl(mine) == nccl(real)

    # The containers' logs have what `ray start` printed.
    said = _ray_start(recorded("ray/worker.log"))
    assert len(said) == 10
    assert _ray_start(cluster.log("worker")) == said
    assert "NCCL" not in cluster.log("worker") + cluster.log("head")
    ranks = [rank_file(cluster, rank).read_text() for rank in (0, 1)]
    well_at_every_line(log, cluster.log("worker"), *ranks)


def _ray_start(text: str) -> list[str]:
    lines = [_COLOUR.sub("", line) for line in text.split("\n") if "scripts.py" in line]
    said = [line.split(" -- ", 1)[1] for line in lines]
    return [re.sub(r"\d+\.\d+\.\d+\.\d+|/\S+/logs", "N", line) for line in said]


def test_the_driver_passes_on_what_the_ranks_say_shortened(cluster: Cluster) -> None:
    vllm = over_ray(cluster)
    cluster.serving()
    until(lambda: "Graph capturing finished" in cluster.log("vllm"), "all was passed on")
    vllm.terminate()
    vllm.wait(LIMIT)
    log, real = cluster.log("vllm"), recorded("ray/head.log")
    for text, here in ((log, "127.0.0.2"), (real, "192.168.100.11")):
        passed = {event.source for event in events(text) if event.source}
        assert passed == {"RayWorkerProc at home", f"RayWorkerProc at {here}"}
        assert re.search(r"NCCL INFO .*\x1b\[32m \[repeated \d+x across cluster\]", text)
        assert text.count("Set RAY_DEDUP_LOGS=0 to disable log deduplication") == 1
        assert re.search(
            r"^\(EngineCore pid=\d+\) \x1b\[36m\(RayWorkerProc pid=\d+\)\x1b\[0m \(Worker_TP0 pid=",
            text,
            re.M,
        )
    # Of the channels of both ranks some are in no line of the driver's.
    whole = "".join(rank_file(cluster, rank).read_text() for rank in (0, 1))
    assert 0 < log.count("NCCL INFO Channel 0") < whole.count("NCCL INFO Channel 0")


def test_what_nccl_says_last_is_still_in_its_buffer(cluster: Cluster) -> None:
    over_ray(cluster)
    cluster.serving()
    for text in (rank_file(cluster, 0).read_text(), recorded("ray/rank0.out")):
        assert "- Init COMPLETE" in text
        assert not re.search(r"ncclCommInitRankConfig comm .* - Init COMPLETE", text)
        torn = [line for line in text.split("\n") if re.search(r"^[^(]+.*\(Worker", line)]
        assert torn, "no line of NCCL's is cut by one of vLLM's"


@pytest.mark.parametrize(
    ("flags", "label"),
    [((), r"/\S+/snapshots/\w+"), (("--served-model-name", "short"), "short")],
)
def test_the_label_is_a_path_where_no_name_is_given(
    cluster: Cluster, flags: tuple[str, ...], label: str
) -> None:
    name = r'^vllm:num_requests_running\{engine="0",model_name="%s"\} 0\.0$'
    over_ray(cluster, *flags)
    cluster.serving()
    page = (cluster.ask("/metrics") or (0, b""))[1].decode()
    assert re.search(name % label, page, re.M)
    models = json.loads((cluster.ask("/v1/models") or (0, b""))[1])["data"]
    real = json.loads(recorded("ray/models.json"))["data"]
    if not flags:
        assert re.search(name % label, recorded("ray/metrics.prom"), re.M)
        assert [(models[0]["id"] == MODEL, models[0]["root"] == MODEL)] == [(True, True)]
        assert real[0]["id"] == real[0]["root"] == "spark-cluster/tiny-qwen3-vl-moe"


def test_processes_have_their_names(cluster: Cluster) -> None:
    over_ray(cluster)
    cluster.serving()
    for rank, top in enumerate(("ray/head.top.txt", "ray/worker.top.txt")):
        line = Path(f"/proc/{rank_pid(cluster, rank)}/cmdline").read_bytes().rstrip(b"\0").decode()
        assert line == "ray::RayWorkerProc.run"
        assert line in recorded(top)
    server = cluster.processes["vllm"].pid
    assert b"serve" in Path(f"/proc/{server}/cmdline").read_bytes()


def test_a_stopped_rank_wedges_all_and_the_api_stays_green(cluster: Cluster) -> None:
    over_ray(cluster)
    cluster.serving()
    pid = rank_pid(cluster, 1)
    os.kill(pid, signal.SIGSTOP)
    link = start_a_request(cluster)
    until(lambda: cluster.metric("vllm:num_requests_running") == 1, "a running request")
    time.sleep(2.0)
    assert health(cluster) == 200
    assert cluster.metric("vllm:generation_tokens_total") == 0
    os.kill(pid, signal.SIGCONT)
    assert link.getresponse().status == 200
    link.close()
    assert not [event for event in events(cluster.log("vllm")) if event.level == "ERROR"]


def test_a_killed_rank_over_ray_ends_the_server_at_once(cluster: Cluster) -> None:
    vllm = over_ray(cluster)
    cluster.serving()
    before = len(cluster.log("vllm"))
    os.kill(rank_pid(cluster, 1), signal.SIGKILL)
    # Nobody asked for a token.
    seen = set()
    begun = time.monotonic()
    while vllm.poll() is None:
        assert time.monotonic() - begun < LIMIT
        seen.add(health(cluster))
        time.sleep(0.2)
    assert time.monotonic() - begun < 10
    assert 503 in seen
    assert vllm.returncode == 0, "as the recording's `vllm serve exited with 0`"
    assert cluster.processes["head"].poll() is None, "Ray's container lives on"

    real = [event for event in events(recorded("ray-killed/head.log")) if event.source != "home"]
    mine = events(cluster.log("vllm")[before:])
    assert _without_polls(mine) == _without_polls(real)


def _without_polls(found: list[Event]) -> list[Event]:
    """/health's lines stand where the client happened to ask."""
    rest = [
        event for event in found if event.kind != "unhealthy" and "RayWorker" not in event.source
    ]
    return [event for i, event in enumerate(rest) if i == 0 or event != rest[i - 1]]


def test_a_second_start_in_the_same_ray_container(cluster: Cluster) -> None:
    first = over_ray(cluster)
    cluster.serving()
    os.kill(rank_pid(cluster, 1), signal.SIGKILL)
    first.wait(LIMIT)
    cluster.vllm("--num-gpu-blocks-override", "34000", **ENV)
    cluster.serving()
    assert (cluster.ask("/v1/completions", {"prompt": "x"}) or (0, b""))[0] == 200
    folder = cluster.root / "127.0.0.2/ray/session_latest/logs"
    assert len(list(folder.glob("worker-*-02000000-*.out"))) == 1


def test_no_device_with_ib_only_over_ray(cluster: Cluster) -> None:
    vllm = over_ray(cluster, NCCL_NET="IB")
    assert vllm.wait(LIMIT) == 1, "as the recording's `vllm serve exited with 1`"
    log, real = cluster.log("vllm"), recorded("ray-ib-only/head.log")
    assert own(log) == own(real)
    for text in (log, real):
        assert "RuntimeError: NCCL error: invalid usage (run with NCCL_DEBUG=WARN for" in text
        assert "ActorHandleNotFoundError: ActorHandle objects are not valid across Ray" in text
    # NCCL's own lines are in no log: they were in the buffer of a process that was killed.
    for rank in (0, 1):
        for text in (rank_file(cluster, rank).read_text(), recorded(f"ray-ib-only/rank{rank}.out")):
            assert "NCCL INFO" not in text
            assert "NCCL WARN" not in text


# -- without Ray --------------------------------------------------------------------------------

BLOCKS = ("--num-gpu-blocks-override", "34000")


def without_ray(
    cluster: Cluster, *flags: str, worker: dict[str, str] | None = None, **extra: str
) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    tp = ("--tensor-parallel-size", "2")
    second = cluster.node(1, *tp, *flags, **ENV, **extra, **(worker or {}))
    return cluster.node(0, *tp, *flags, **ENV, **extra), second


def test_a_start_without_ray(cluster: Cluster) -> None:
    without_ray(cluster, *BLOCKS)
    cluster.serving()
    for name, log in (("head", "vllm"), ("worker", "worker")):
        mine, real = cluster.log(log), recorded(f"mp/{name}.log")
        assert events(mine) == events(real)
        assert nccl(mine) == nccl(real)
        well_at_every_line(mine)


def test_processes_without_ray_have_their_names(cluster: Cluster) -> None:
    _, worker = without_ray(cluster, *BLOCKS)
    cluster.serving()
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    titles = [Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode() for pid in children]
    assert titles == ["VLLM::Worker_TP1"]
    assert "VLLM::Worker_TP1" in recorded("mp/worker.top.txt")


def test_a_killed_rank_without_ray_hangs_the_rest(cluster: Cluster) -> None:
    """As seen with CUDA; a build for CPUs answers 500 at once."""
    head, worker = without_ray(cluster, *BLOCKS, SPARK_LAB_NCCL_REMOTE_SECONDS="4")
    cluster.serving()
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    for pid in (worker.pid, *map(int, children)):
        os.kill(pid, signal.SIGKILL)
    time.sleep(1.0)
    assert health(cluster) == 200
    link = start_a_request(cluster)
    link.sock.settimeout(2.0)
    with pytest.raises(TimeoutError):
        link.getresponse()
    assert health(cluster) == 200
    link.close()
    # In the end the first rank's own watchdog ends it, and names no peer.
    assert head.wait(LIMIT) == 0
    log = cluster.log("vllm")
    assert "ncclRemoteError: A call failed possibly due to a network error or a remote" in log
    kinds = [event.kind for event in events(log)]
    assert kinds.index("rank died") < kinds.index("engine failed")


def test_too_few_blocks(cluster: Cluster) -> None:
    head, _ = without_ray(cluster, "--num-gpu-blocks-override", "100")
    assert head.wait(LIMIT) == 1
    log, real = cluster.log("vllm"), recorded("fail-kv/head.log")
    # Whether the engine sees its rank end before it ends itself is a race.
    race = {"rank died", "ranks ended"}
    mine, theirs = ([e for e in events(x) if e.kind not in race] for x in (log, real))
    assert mine == theirs
    sign = r"the model's max seq len \(\d+\), \([\d.]+ GiB KV cache is needed, which is larger than"
    for text in (log, real):
        assert re.search(sign, text)


def test_too_little_memory_on_the_worker(cluster: Cluster) -> None:
    head, worker = without_ray(cluster, *BLOCKS, worker={"SPARK_LAB_GPU_FREE_GIB": "78.31"})
    assert worker.wait(LIMIT) == 1, "as recorded"
    assert head.wait(LIMIT) == 1
    assert events(cluster.log("worker")) == events(recorded("fail-mem/worker.log"))
    race = {"ranks ended"}
    mine, theirs = (
        [event for event in events(text) if event.kind not in race]
        for text in (cluster.log("vllm"), recorded("fail-mem/head.log"))
    )
    assert mine == theirs
    cause = re.compile(r"ValueError: Free memory on device cuda:0 \(78\.31/[\d.]+ GiB\) on startup")
    for text in (cluster.log("worker"), recorded("fail-mem/worker.log")):
        assert cause.search(text)
    for text in (cluster.log("vllm"), recorded("fail-mem/head.log")):
        assert not cause.search(text)
