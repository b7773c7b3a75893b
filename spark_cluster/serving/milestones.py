"""How far a starting engine is, and why it failed, from its log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.serving.failures import Failure, find_failure
from spark_cluster.serving.marks import MARKS

#: How many of the last lines are kept as evidence.
TAIL_LINES = 15


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
    """`reached` in the order of a start-up; `current` is the last of them as a sentence.

    `failure` says why it will not come up, `remedy` what to do; both None while all is well. `tail`
    holds the last lines of the log, progress bars folded.
    """

    reached: tuple[Milestone, ...]
    current: str
    failure: str | None
    tail: tuple[str, ...]
    remedy: str | None = None

    @property
    def ready(self) -> bool:
        """The API server is up. Whether a token comes is another question."""
        return self.failure is None and any(item.key == "ready" for item in self.reached)


_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAR = re.compile(r"^(.*?\S.*?):\s*\d{1,3}%")


def clean_lines(log_text: str) -> list[str]:
    """The log's lines without colours; a progress bar's steps (after `\\r`) are lines too."""
    text = _ANSI.sub("", log_text).replace("\r", "\n")
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def _fold_bars(lines: list[str]) -> list[str]:
    """Of the steps of one progress bar only the last is kept."""
    folded: list[str] = []
    previous: str | None = None
    for line in lines:
        bar = _BAR.match(line)
        name = bar[1] if bar else None
        if name is not None and name == previous:
            folded[-1] = line
        else:
            folded.append(line)
        previous = name
    return folded


def _find_milestones(lines: list[str]) -> tuple[dict[str, Milestone], int]:
    """The milestones reached, and the number of the line of the last (-1: none)."""
    found: dict[str, Milestone] = {}
    last = -1
    for number, line in enumerate(lines):
        for mark in MARKS:
            match = mark.pattern.search(line)
            if match:
                detail = mark.detail.format(*(group or "" for group in match.groups()))
                found[mark.key] = Milestone(mark.key, mark.text, detail)
                last = number
    return found, last


def _current(reached: tuple[Milestone, ...], failure: Failure | None) -> str:
    where = str(reached[-1]) if reached else "nothing in the log yet"
    if failure is None:
        return where
    return f"failed after: {where}" if reached else "failed before its first step"


def read(log_text: str) -> Progress:
    """How far the start-up in `log_text` is. A log that begins in the middle is fine.

    A traceback counts as a failure only while nothing goes on after it: engines log some that they
    survive.
    """
    lines = clean_lines(log_text)
    found, last = _find_milestones(lines)
    reached = tuple(found[mark.key] for mark in MARKS if mark.key in found)
    failure = find_failure(lines, last)
    return Progress(
        reached=reached,
        current=_current(reached, failure),
        failure=failure.reason if failure else None,
        tail=tuple(_fold_bars(lines)[-TAIL_LINES:]),
        remedy=failure.remedy if failure else None,
    )
