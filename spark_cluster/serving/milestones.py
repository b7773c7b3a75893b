"""How far a starting engine is, and what speaks for a failure, from its log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from spark_cluster.serving import starts
from spark_cluster.serving.failures import Failure, find, standstill, warnings
from spark_cluster.serving.marks import marks
from spark_cluster.serving.signs import Grade

#: How many of the last lines are kept as evidence.
TAIL_LINES = 15


_GRADES: tuple[Grade, ...] = ("cause", "symptom", "consequence")


@dataclass(frozen=True)
class Milestone:
    """A point of the start-up. `key` is stable; `text` is what a person reads; `detail` has the
    log's own numbers, such as `5/42 shards`."""

    key: str
    text: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.text} ({self.detail})" if self.detail else self.text


@dataclass(frozen=True)
class Progress:
    """What a log says of its last start.

    reached      in the order of a start-up; `current` is the last of them as a sentence
    failure      what speaks for a failure; None while all is well. Whether it is one is seen by
                 what follows: the engine's end, or nothing
    advanced     when the last milestone was reached, seconds since 1970 by the host's clock; None
                 if the log has no times
    exit_status  with which a server inside the container ended; None if the log does not say
    tail         the last lines of the log, progress bars folded
    standing     what it means if nothing follows for a long time; None where nothing is known
    warnings     what the engine warned of and survived
    """

    reached: tuple[Milestone, ...]
    current: str
    failure: Failure | None
    tail: tuple[str, ...]
    advanced: float | None = None
    exit_status: int | None = None
    standing: Failure | None = None
    warnings: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """The API server is up. Whether a token comes is another question."""
        return self.failure is None and any(item.key == "ready" for item in self.reached)


_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: Behind the name of a progress bar.
_BAR = re.compile(r":\s{0,8}\d{1,3}%", re.ASCII)
#: What `docker logs --timestamps` puts before each line: RFC 3339 in UTC, nanoseconds.
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z ", re.ASCII)


def clean_lines(log_text: str) -> list[str]:
    """The log's lines without colours and without docker's times; a progress bar's steps (after
    `\\r`) are lines too."""
    return [line for _, line in _stamped(log_text)]


def _stamped(log_text: str) -> Iterator[tuple[float | None, str]]:
    """The lines, each with docker's time (seconds since 1970) where it has one."""
    for raw in _ANSI.sub("", log_text).split("\n"):
        time = None
        if found := _STAMP.match(raw):
            time, raw = _seconds(found), raw[found.end() :]
        for line in raw.split("\r"):
            if line.strip():
                yield time, line.rstrip()


def _seconds(stamp: re.Match[str]) -> float | None:
    try:
        whole = datetime.fromisoformat(f"{stamp[1]}+00:00").timestamp()
    except ValueError:
        return None
    return whole + float(stamp[2] or 0)


def _fold_bars(lines: Sequence[str]) -> list[str]:
    """Of the steps of one progress bar only the last is kept."""
    folded: list[str] = []
    previous: str | None = None
    for line in lines:
        bar = _BAR.search(line)
        name = line[: bar.start()] if bar else None
        if name and name == previous:
            folded[-1] = line
        else:
            folded.append(line)
        previous = name
    return folded


def _find_milestones(lines: Sequence[str]) -> tuple[dict[str, Milestone], int]:
    """The milestones reached, and the number of the line of the last (-1: none)."""
    found: dict[str, Milestone] = {}
    last = -1
    for number, line in enumerate(lines):
        for milestone in _milestones(line):
            found[milestone.key] = milestone
            last = number
    return found, last


@lru_cache(maxsize=8192)
def _milestones(line: str) -> tuple[Milestone, ...]:
    """What a line tells of. A launch reads the same lines again and again."""
    found = []
    for mark in marks():
        if match := mark.pattern.search(line):
            detail = mark.detail.format(*(group or "" for group in match.groups()))
            found.append(Milestone(mark.key, mark.text, detail))
    return tuple(found)


def read(log_text: str) -> Progress:
    """How far the last start in `log_text` is. A log that begins in the middle is fine.

    A traceback counts as a failure only while nothing goes on after it: engines log some that they
    survive.
    """
    stamped = list(_stamped(log_text))
    lines = starts.last_start([line for _, line in stamped])
    times = [time for time, _ in stamped[len(stamped) - len(lines) :]]
    found, last = _find_milestones(lines)
    reached = tuple(found[mark.key] for mark in marks() if mark.key in found)
    return Progress(
        reached=reached,
        current=str(reached[-1]) if reached else "nothing in the log yet",
        failure=find(lines, last, times),
        tail=tuple(_fold_bars(lines)[-TAIL_LINES:]),
        advanced=times[last] if last >= 0 else None,
        exit_status=starts.exit_status(lines),
        standing=standstill(lines, last, times),
        warnings=warnings(lines),
    )


def culprit(
    logs: Mapping[str, Progress], now: Mapping[str, float | None]
) -> tuple[str, Failure] | None:
    """Of the logs of all ranks the failure that came first, and whose log has it.

    A cause comes before what another rank's death looks like, and that before what only follows.
    Causes are ordered by their age, since hosts'
    clocks differ (`now` is what each says); where that is unknown or the same to a second, by how
    near to a cause they are.
    """
    found = [(name, log.failure) for name, log in logs.items() if log.failure is not None]

    def rank(entry: tuple[str, Failure]) -> tuple[int, float, int]:
        name, failure = entry
        clock = now.get(name)
        age = clock - failure.time if clock is not None and failure.time is not None else None
        grade = _GRADES.index(failure.grade)
        return grade, -round(age) if age is not None else 0.0, failure.order

    known = all(f.time is not None and now.get(name) is not None for name, f in found)
    if not known:
        return min(found, key=lambda entry: entry[1].order, default=None)
    return min(found, key=rank, default=None)
