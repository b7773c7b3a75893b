"""Tracebacks as vLLM 0.23 logs them, shortened to the frames that tell where it was.

An exception of a process that logs it has the logger's prefix on every line; the same exception is
printed again, with the process's name only, when it ends that process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from .logs import out, vllm_line
from .tables import read_text

Stack = Sequence[str]
"""Two lines for each frame, as Python prints it."""


def _stacks(text: str) -> dict[str, Stack]:
    """The stacks of the table by name; each may go on from another one (`EXECUTOR: START`)."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(" "):
            lines.append(line)
        else:
            name, _, base = line.partition(":")
            found[name] = lines = [*found.get(base.strip(), [])]
    return {**found}


_STACKS = _stacks(read_text("tracebacks.txt"))
MAIN = _STACKS["MAIN"]
START = _STACKS["START"]
EXECUTOR = _STACKS["EXECUTOR"]
IN_RAY = _STACKS["IN_RAY"]
WITHOUT_RAY = _STACKS["WITHOUT_RAY"]
HEADLESS = _STACKS["HEADLESS"]
CACHE = _STACKS["CACHE"]
LOOP = _STACKS["LOOP"]
FAILED = _STACKS["FAILED"]
OUTPUT = _STACKS["OUTPUT"]
SERVE = _STACKS["SERVE"]
SERVER = _STACKS["SERVER"]
WORKER = _STACKS["WORKER"]
KILL = _STACKS["KILL"]


def text_of(frames: Stack, error: str) -> list[str]:
    """The lines of one traceback."""
    return ["Traceback (most recent call last):", *frames, *error.split("\n")]


def logged(who: str, where: str, first: str, frames: Stack, error: str) -> None:
    """By vLLM's logger, after the line that says what failed."""
    for line in [first, *text_of(frames, error)]:
        out(vllm_line(who, where, line, "ERROR"))


def printed(who: str, frames: Stack, error: str, *before: str) -> None:
    """By Python, as it ends the process `who`; without one, as `vllm serve --headless`."""
    prefix = f"({who} pid={os.getpid()}) " if who else ""
    for line in [*before, *text_of(frames, error)]:
        out(prefix + line)
