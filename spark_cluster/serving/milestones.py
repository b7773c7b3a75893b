"""How far a starting vLLM is, and why it failed, from its log (vLLM 0.10 to 0.33)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spark_cluster.serving.failures import Failure, find_failure

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


@dataclass(frozen=True)
class _Mark:
    """A line that means a milestone; `detail` is filled with the pattern's groups."""

    key: str
    text: str
    pattern: re.Pattern[str]
    detail: str = ""


def _mark(key: str, text: str, pattern: str, detail: str = "") -> _Mark:
    return _Mark(key, text, re.compile(pattern, re.ASCII), detail)


#: In the order of a start-up. A later line of the same mark replaces its detail.
_MARKS = (
    _mark("arguments", "vLLM has started", r"non-default args: "),
    _mark("model", "model configuration read", r"Resolved architecture: (\w+)", "{0}"),
    _mark("engine", "engine is starting", r"Initializing an? (?:V1 )?LLM engine"),
    _mark(
        "ranks",
        "ranks have found each other",
        r"rank \d+ in world size (\d+) is assigned as",
        "world size {0}",
    ),
    _mark("loading", "loading the model", r"Starting to load model "),
    _mark(
        "shards",
        "loading weights",
        r"Loading \w*(?:safetensors|pt) checkpoint shards:\s*(\d+)% Completed \| (\d+)/(\d+)",
        "{1} of {2} shards, {0} %",
    ),
    _mark("weights", "weights loaded", r"Loading weights took ([0-9.]+) seconds", "{0} s"),
    _mark(
        "loaded",
        "model loaded",
        r"Model loading took ([0-9.]+ ?Gi?B)(?: memory)? and ([0-9.]+) seconds",
        "{0}, {1} s",
    ),
    _mark(
        "encoder",
        "profiling the vision encoder: minutes, up to an hour on the first start",
        r"Encoder cache will be initialized with a budget of (\d+) tokens",
        "{0} tokens",
    ),
    _mark(
        "compile",
        "compiling",
        r"(?:torch\.compile takes|torch\.compile took|Dynamo bytecode transform time:) ([0-9.]+) s",
        "{0} s",
    ),
    _mark(
        "kv-memory",
        "memory for the KV cache measured",
        r"Available KV cache memory: ([0-9.]+ ?Gi?B)",
        "{0}",
    ),
    _mark("kv-cache", "KV cache made", r"KV cache size: ([0-9,]+) tokens", "{0} tokens"),
    _mark(
        "graphs",
        "capturing CUDA graphs",
        r"Capturing CUDA graphs?(?: shapes)?(?: \([^)]*\))?:\s*\d+%.*?\| (\d+)/(\d+)",
        "{0} of {1}",
    ),
    _mark(
        "captured", "CUDA graphs captured", r"Graph capturing finished in ([0-9.]+) secs?", "{0} s"
    ),
    _mark(
        "initialised",
        "engine is ready",
        r"init engine \(profile, create kv cache, warmup model\) took ([0-9.]+) s",
        "{0} s",
    ),
    _mark("server", "API server is starting", r"Starting vLLM (?:API )?server"),
    _mark("ready", "API server is up", r"Application startup complete\."),
)

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
        for mark in _MARKS:
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
    reached = tuple(found[mark.key] for mark in _MARKS if mark.key in found)
    failure = find_failure(lines, last)
    return Progress(
        reached=reached,
        current=_current(reached, failure),
        failure=failure.reason if failure else None,
        tail=tuple(_fold_bars(lines)[-TAIL_LINES:]),
        remedy=failure.remedy if failure else None,
    )
