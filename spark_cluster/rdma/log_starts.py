"""Which lines of a log are of the last start of each rank: docker's log of a container outlives its
restarts, and how an earlier start chose says nothing of what runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from spark_cluster.rdma.log_lines import Line
from spark_cluster.rdma.nccl_log import parse

#: What NCCL prints once in a process, however many communicators it makes and however late
#: (src/misc/cudawrap.cc, src/bootstrap.cc; held against 2.19 to 2.30). The second is of the
#: subsystem BOOTSTRAP since 2.23, the first of INIT; which comes first differs between ranks. A
#: communicator that is bootstrapped by RDMA has a line like the second that names a port only.
_ONCE = re.compile(r"NCCL INFO (?:(cudaDriverVersion) \d|(Bootstrap) ?: Using \S+<\d+>)", re.ASCII)
_GIVEN = re.compile(r"NCCL INFO NCCL_\w+ set by environment", re.ASCII)
_VERSION = re.compile(r"NCCL version \d|nccl==\d", re.ASCII)


@dataclass(frozen=True)
class _Start:
    """What a process wrote from its start on. `first` and `last` are numbers of lines."""

    process: str
    numbers: tuple[int, ...]
    rank: int | None
    version: str | None

    @property
    def first(self) -> int:
        return self.numbers[0]

    @property
    def last(self) -> int:
        return self.numbers[-1]

    def follows(self, other: _Start) -> bool:
        """Whether it is a later start of the same rank, on the same host: the same number on two
        hosts may be two replicas. Processes whose lines are mingled ran at once. One that ended
        before it had a rank was followed by one that has; two that have none may be two ranks."""
        if other.last >= self.first or _host(other.process) != _host(self.process):
            return False
        if other.process == self.process:
            return True
        return self.rank is not None and other.rank in (self.rank, None)


def last_starts(lines: Sequence[Line]) -> tuple[list[Line], int]:
    """The lines without those of earlier starts, and how many starts these were.

    A line without a process is left out if it comes before the last start, unless it names the
    release: vLLM does that before NCCL says anything.
    """
    starts = _starts(lines)
    kept = [start for start in starts if not any(new.follows(start) for new in starts)]
    earlier = {start.first: sum(start.follows(old) for old in starts) for start in kept}
    begin = min((first for first, count in earlier.items() if count), default=0)
    numbers = {number for start in kept for number in start.numbers}
    rest = [
        (process, line)
        for number, (process, line) in enumerate(lines)
        if number in numbers or (process is None and (number >= begin or _VERSION.search(line)))
    ]
    return rest, max(earlier.values(), default=0)


def _starts(lines: Sequence[Line]) -> list[_Start]:
    by_process: dict[str, list[int]] = {}
    for number, (process, _) in enumerate(lines):
        if process is not None:
            by_process.setdefault(process, []).append(number)
    found = []
    for process, numbers in by_process.items():
        texts = [lines[number][1] for number in numbers]
        edges = _edges(texts)
        parts = [
            _start(process, numbers[begin:end], texts[begin:end])
            for begin, end in zip(edges, [*edges[1:], len(texts)], strict=True)
        ]
        if len({part.version for part in parts} - {None}) > 1:
            # Two copies of NCCL in one process: PyTorch's and the one in VLLM_NCCL_SO_PATH.
            parts = [_start(process, numbers, texts)]
        found += parts
    return found


def _start(process: str, numbers: Sequence[int], texts: Sequence[str]) -> _Start:
    witness = parse("\n".join(texts))
    return _Start(process, tuple(numbers), witness.rank, witness.version)


def _edges(texts: Sequence[str]) -> list[int]:
    """Where starts begin among the lines of one pid: what is printed once is there again. What
    NCCL says before that of its environment belongs to the start."""
    edges, seen = [0], set[str]()
    for number, text in enumerate(texts):
        mark = _ONCE.search(text)
        name = mark and (mark[1] or mark[2])
        if not name:
            continue
        if name in seen:
            begin = number
            while begin > edges[-1] + 1 and _GIVEN.search(texts[begin - 1]):
                begin -= 1
            edges.append(begin)
            seen.clear()
        seen.add(name)
    return edges


def _host(process: str) -> str:
    return process.rpartition(":")[0]
