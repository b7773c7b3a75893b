"""What the engine's process prints, and how it says that it cannot start."""

from __future__ import annotations

import os

from . import tracebacks
from .logs import out, vllm_line
from .release import engine_process
from .tracebacks import Stack


class StartError(Exception):
    """The engine cannot start; the text is the last line of vLLM's traceback."""

    def __init__(self, text: str, frames: Stack = tracebacks.START) -> None:
        super().__init__(text)
        self.frames = frames


def say(where: str, text: str, level: str = "INFO") -> None:
    """A line of the engine's process."""
    out(vllm_line(engine_process(), where, text, level))


def pass_on(text: str) -> None:
    """A line of Ray's in the engine's process: all that it prints has the process's name."""
    out(f"({engine_process()} pid={os.getpid()}) {text}")
