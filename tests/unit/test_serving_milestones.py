"""How far a start-up is and why it failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_cluster.serving.marks import marks
from spark_cluster.serving.milestones import TAIL_LINES, read

DATA = Path(__file__).parent / "data" / "vllm"
STARTUPS = DATA.parent / "startups"
FAILURES = sorted((DATA / "failures").glob("*.log"))


def keys(text: str) -> list[str]:
    return [item.key for item in read(text).reached]


def test_a_whole_start_up() -> None:
    text = (DATA / "startup-0.32-tp2-head.log").read_text()
    found = read(text)
    assert [item.key for item in found.reached] == [
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
    assert found.ready
    assert found.failure is None
    assert found.current == "API server is up"


def test_half_way_through_it() -> None:
    text = (DATA / "startup-0.32-tp2-head.log").read_text()
    found = read(text[: text.index("init engine")])
    assert not found.ready
    assert found.current == "KV cache made (524,288 tokens)"


def test_a_worker() -> None:
    found = read((DATA / "startup-0.32-tp2-worker.log").read_text())
    assert [item.key for item in found.reached] == ["model", "ranks", "loading"]
    assert str(found.reached[1]) == "ranks have found each other (world size 2)"


@pytest.mark.parametrize(
    ("engine", "reached", "current"),
    [
        (
            "sglang",
            "arguments shards loading weights kv-cache graphs captured ready",
            "API server is up",
        ),
        ("trtllm", "arguments kv-cache tune graphs ready", "API server is up"),
        ("ollama", "server fetch made", "the model is there"),
    ],
)
def test_other_engines(engine: str, reached: str, current: str) -> None:
    found = read((STARTUPS / f"{engine}.log").read_text())
    assert {item.key.removesuffix(f"-{engine}") for item in found.reached} == set(reached.split())
    assert found.current == current
    assert found.failure is None
    assert found.ready == (engine != "ollama")


def test_each_mark_has_a_key_of_its_own() -> None:
    assert len({mark.key for mark in marks()}) == len(marks())


def test_shards() -> None:
    found = read((DATA / "startup-gpu.log").read_text())
    assert found.current == "loading weights (5 of 42 shards, 12 %)"
    assert [item.key for item in found.reached][-3:] == ["ranks", "loading", "shards"]
    assert sum("shards" in line for line in found.tail) == 1
    assert not any("\x1b" in line for line in found.tail)


def test_shards_with_carriage_returns() -> None:
    bar = "Loading safetensors checkpoint shards:  {}% Completed | {}/42 [00:04<02:44,  4.01s/it]"
    found = read("\r".join(bar.format(number * 2, number) for number in range(9)))
    assert found.current == "loading weights (8 of 42 shards, 16 %)"
    assert len(found.tail) == 1


def test_the_later_half_of_a_gpu_start_up() -> None:
    found = read((DATA / "startup-gpu-2.log").read_text())
    assert found.current == "capturing CUDA graphs (7 of 67)"
    told = {item.key: str(item) for item in found.reached}
    assert told["loaded"] == "model loaded (58.1234 GiB, 176.657031 s)"
    assert told["kv-memory"] == "memory for the KV cache measured (25.77 GiB)"
    assert "up to an hour" in told["encoder"]


def test_an_empty_log() -> None:
    found = read("")
    assert (found.reached, found.tail, found.failure) == ((), (), None)
    assert found.current == "nothing in the log yet"


@pytest.mark.parametrize("path", FAILURES, ids=lambda path: path.stem)
def test_failures(path: Path) -> None:
    head, _, log = path.read_text().partition("\n")
    expected = head.removeprefix("#").strip() or None
    found = read(log)
    assert (found.failure.reason if found.failure else None) == expected
    assert found.failure is None or found.failure.remedy
    assert not (found.ready and found.failure)


SAMPLE_LINES = [
    line for path in [*FAILURES, *DATA.glob("*.log")] for line in path.read_text().splitlines()
]


@given(st.lists(st.one_of(st.text(), st.sampled_from(SAMPLE_LINES))))
def test_any_text(lines: list[str]) -> None:
    found = read("\n".join(lines))
    assert len(found.tail) <= TAIL_LINES
    assert found.current
