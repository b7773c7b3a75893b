"""How the stand-in's Ray shortens what several workers say alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spark_cluster.lab.engine.logs import Stdio
from spark_cluster.lab.engine.ray_logs import Deduplicator, Source

HERE, THERE = Source("Rank", 7, ""), Source("Rank", 9, "192.168.100.11")
RECORDED = Path(__file__).parent / "data/engine/gpu/ray"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _plain(lines: list[str]) -> list[str]:
    return [_COLOUR.sub("", line) for line in lines]


def test_one_worker_alone_is_not_shortened() -> None:
    found = Deduplicator(Clock()).take(HERE, ["step 1 done", "step 2 done", "step 2 done"])
    assert _plain(found) == [f"(Rank pid=7) step {i} done" for i in (1, 2, 2)]


def test_what_a_second_one_adds_comes_later_and_counted() -> None:
    clock = Clock()
    filter_ = Deduplicator(clock)
    assert len(filter_.take(HERE, ["channel 00/0 made"])) == 1
    assert filter_.take(THERE, ["channel 00/0 made", "channel 01/0 made"]) == []
    clock.now += 6.0
    *_, last = _plain(filter_.take(HERE, ["something else"]))
    assert last.startswith("(Rank pid=9, ip=192.168.100.11) channel 01/0 made [repeated 2x across")
    assert last.endswith("more options.)")
    # The advice is given once.
    filter_.take(THERE, ["something else", "something else"])
    (last,) = _plain(filter_.flush())
    assert last.endswith("something else [repeated 2x across cluster]")


def test_one_held_line_is_printed_as_it_is() -> None:
    clock = Clock()
    filter_ = Deduplicator(clock)
    filter_.take(HERE, ["rank 0 is ready"])
    assert filter_.take(THERE, ["rank 1 is ready"]) == []
    assert _plain(filter_.flush()) == ["(Rank pid=9, ip=192.168.100.11) rank 1 is ready"]


def test_lines_that_are_numbers_only_are_never_held() -> None:
    filter_ = Deduplicator(Clock())
    assert len(filter_.take(HERE, ["1/2", "3"]) + filter_.take(THERE, ["1/2"])) == 3


def test_the_recorded_files_of_both_ranks_become_the_recorded_kind_of_lines() -> None:
    """Which rank is first is chance; that each line's pattern is there, and most of one rank's
    lines are not, is not."""
    filter_ = Deduplicator(Clock())
    files = [(RECORDED / f"rank{rank}.out").read_text().split("\n") for rank in (0, 1)]
    passed = filter_.take(THERE, files[1]) + filter_.take(HERE, files[0]) + filter_.flush()
    mine = {_kind(line) for line in _plain(passed)}
    real = (RECORDED / "head.log").read_text().split("\n")
    theirs = {_kind(line) for line in _plain(real) if "NCCL INFO" in line and "RayWorker" in line}
    assert theirs - mine == set()
    assert sum("repeated" in line for line in passed) > 10
    assert len(passed) < len(files[0]) + len(files[1]) - 40


def _kind(line: str) -> str:
    text = line.partition("NCCL INFO ")[2].partition(" [repeated")[0].partition("(Worker")[0]
    return " ".join(word for word in text.split() if not re.search(r"\d", word))[:40]


def test_c_writes_whole_blocks_until_it_ends(capfd: pytest.CaptureFixture[str]) -> None:
    stdio = Stdio()
    for number in range(100):
        stdio.line(f"line {number:03d} " + "x" * 70)
    text = capfd.readouterr().out
    assert len(text) == 4096 * (100 * 80 // 4096)
    assert not text.endswith("\n")
    stdio.flush()
    assert capfd.readouterr().out.endswith("x\n")
