"""Whether an engine failed and why, held against logs of real engines."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from spark_cluster.serving import milestones, starts
from spark_cluster.serving.failures import Failure

DATA = Path(__file__).parent / "data"
GPU = DATA / "gpu"

#: Whole logs of starts that became ready, or of a rank that was still well when the log was taken.
HEALTHY = [
    *sorted(path for name in ("ray", "ray-loading", "mp") for path in (GPU / name).glob("*.log")),
    *sorted((DATA / "vllm").glob("startup-*.log")),
    *sorted((DATA / "startups").glob("*.log")),
]


def log(name: str, rank: str = "head") -> str:
    return (GPU / name / f"{rank}.log").read_text(encoding="utf-8")


def failure(text: str) -> Failure:
    found = milestones.read(text).failure
    assert found is not None
    return found


@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_part_of_a_healthy_log_is_a_failure(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    for end in range(len(lines) + 1):
        found = milestones.read("\n".join(lines[:end])).failure
        assert found is None, (end, lines[end - 1], found)


def test_a_warning_of_too_few_gpus_is_none() -> None:
    """vLLM prints it on every host that has fewer GPUs than the job has ranks."""
    assert "Tensor parallel size (2) exceeds available GPUs (1)" in log("ray")
    assert milestones.read(log("ray")).ready


@pytest.mark.parametrize(
    "line",
    [
        # vLLM 0.23, ray_utils.py: what really ends a start for which the GPUs do not suffice.
        "ValueError: Cannot provide a placement group requiring 2.0 GPUs (placement_group_specs="
        "[{'GPU': 1.0}, {'GPU': 1.0}]) within 1800 seconds.",
        "ValueError: The number of required GPUs exceeds the total number of available GPUs in the "
        "placement group. Required number of devices: 2. Total number of devices: 1.",
    ],
)
def test_a_placement_group_that_cannot_be_made_is_one(line: str) -> None:
    assert failure(log("ray-loading") + "\n" + line).reason.startswith("Ray has no place")


@pytest.mark.parametrize("word", ["models's", "model's"])
def test_a_kv_cache_too_small_by_the_words_of_all_releases(word: str) -> None:
    text = log("fail-kv").replace("model's max seq len", f"{word} max seq len")
    assert failure(text).reason == "the KV cache is too small for one request of 262144 tokens"


def test_too_little_memory_stands_in_the_workers_log() -> None:
    found = failure(log("fail-mem", "worker"))
    assert found.reason == "too little free memory when vLLM started: 78.31/139.8 GiB"
    lost = failure(log("fail-mem"))
    assert (lost.consequence, lost.address) == (True, "192.168.100.11")


def test_nccl_without_a_device_by_vllms_words() -> None:
    found = failure(log("ray-ib-only"))
    assert "NCCL refused its settings (invalid usage)" in found.reason
    assert "no usable RDMA device" in found.reason
    assert found.address == "192.168.100.11"


def test_the_exception_behind_an_engine_core_that_did_not_start() -> None:
    found = failure(log("pp"))
    assert found.reason.endswith(
        "ValidationError: 1 validation error for VllmConfig: Value error, No model architectures "
        "are specified"
    )


def test_the_rank_that_died_is_named() -> None:
    found = failure(log("ray-killed"))
    assert (found.reason, found.rank) == ("the process of rank 1 died", 1)
    assert milestones.read(log("ray-killed")).exit_status == 0


def test_a_killed_rank_without_ray_is_named_by_its_own_log() -> None:
    """The head's NCCL only knows that somebody is gone, and says so with the next request."""
    head, worker = (milestones.read(log("mp-killed", rank)) for rank in ("head", "worker"))
    assert head.failure is not None
    assert (head.failure.reason, head.failure.consequence) == (
        "a rank is gone, or the network to it",
        True,
    )
    found = milestones.culprit({"a": head, "b": worker}, {"a": None, "b": None})
    assert found is not None
    assert (found[0], found[1].reason) == ("b", "the process of rank 1 died")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("Call to ibv_modify_qp failed with 110 Connection timed out, on dev rocep1s0f0:1, "
         "retrying 1/34 after 100 msec of sleep", False),
        ("Call to ibv_modify_qp failed with 110 Connection timed out, on dev rocep1s0f0:1, curr "
         "state INIT, next state RTR", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("level", ["INFO", "WARN"])
def test_only_nccls_last_word_on_a_connection_counts(line: str, named: bool, level: str) -> None:
    said = f"spark-2:38:38 [0] misc/ibvwrap.cc:339 NCCL {level} {line}"
    found = milestones.read(said).failure
    assert (found is not None) == (named and level == "WARN")


def test_a_server_started_again_in_the_same_container_is_read_from_its_own_start() -> None:
    again = log("ray-killed") + "\nspark-cluster: vllm serve begins\n"
    assert milestones.read(again).failure is None
    assert milestones.read(again).exit_status is None
    assert milestones.read(again + log("ray")).ready
    assert failure(again + log("ray") + "\n" + log("pp")).order == failure(log("pp")).order


def test_a_mark_within_a_line_is_none() -> None:
    """A prompt may hold the words; vLLM prints them behind its own."""
    lines = ["INFO prompt: 'spark-cluster: vllm serve begins'", "x"]
    assert starts.last_start(lines) == lines
    assert starts.exit_status(["INFO spark-cluster: vllm serve exited with 1"]) is None


NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


def stamped(text: str, start: int) -> str:
    """As `docker logs --timestamps` prints it, a second a line from `start` seconds past noon."""
    times = (datetime.fromtimestamp(NOON + start + number, UTC) for number in count())
    lines = zip(times, text.split("\n"), strict=False)
    return "\n".join(f"{time:%Y-%m-%dT%H:%M:%S}.000000000Z {line}" for time, line in lines)


def test_dockers_times_are_read_and_taken_off() -> None:
    found = milestones.read(stamped("Starting to load model m...\nx\nEngineDeadError", 5))
    assert found.advanced == NOON + 5
    assert found.failure is not None
    assert found.failure.time == NOON + 7
    assert found.tail[-1] == "EngineDeadError"


def test_a_cause_comes_before_what_follows_from_it() -> None:
    logs = {"a": milestones.read(log("fail-mem")), "b": milestones.read(log("fail-mem", "worker"))}
    found = milestones.culprit(logs, {"a": None, "b": None})
    assert found is not None
    assert found[0] == "b"
    assert "78.31/139.8 GiB" in found[1].reason


def test_of_two_causes_the_older_one_is_the_first() -> None:
    """Whatever the hosts' clocks say: here b's is an hour ahead."""
    oom, refused = "CUDA out of memory", "vllm: error: unrecognized arguments: --x"
    logs = {"a": milestones.read(stamped(oom, 60)), "b": milestones.read(stamped(refused, 3600))}
    found = milestones.culprit(logs, {"a": NOON + 100, "b": NOON + 3710})
    assert found is not None
    assert found[0] == "b"
    found = milestones.culprit(logs, {"a": NOON + 100, "b": NOON + 3610})
    assert found is not None
    assert found[0] == "a"
