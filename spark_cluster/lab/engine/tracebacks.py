"""Tracebacks as vLLM 0.23 logs them, shortened to the frames that tell where it was.

An exception of a process that logs it has the logger's prefix on every line; the same exception is
printed again, with the process's name only, when it ends that process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from .logs import out, vllm_line

PACKAGES = "/usr/local/lib/python3.12/dist-packages"


class Frame(NamedTuple):
    """Where a call stood: `file` in the packages' folder, or absolute."""

    file: str
    line: int
    function: str
    source: str

    def lines(self) -> list[str]:
        """As Python prints it."""
        path = self.file if self.file.startswith("/") else f"{PACKAGES}/{self.file}"
        return [f'  File "{path}", line {self.line}, in {self.function}', f"    {self.source}"]


START = (
    Frame(
        "vllm/v1/engine/core.py", 1164, "run_engine_core",
        "engine_core = EngineCoreProc(*args, engine_index=dp_rank, **kwargs)",
    ),
    Frame("vllm/v1/engine/core.py", 930, "__init__", "super().__init__("),
)  # fmt: skip
EXECUTOR = (
    *START,
    Frame(
        "vllm/v1/engine/core.py", 122, "__init__",
        "self.model_executor = executor_class(vllm_config)",
    ),
    Frame("vllm/v1/executor/abstract.py", 109, "__init__", "self._init_executor()"),
)  # fmt: skip
IN_RAY = (
    *EXECUTOR,
    Frame(
        "vllm/v1/executor/ray_executor_v2.py", 398, "_init_executor", "ray.get(init_worker_refs)"
    ),
    Frame(
        "ray/_private/worker.py", 1023, "get_objects", "raise value.as_instanceof_cause()"
    ),
)  # fmt: skip
WITHOUT_RAY = (
    *EXECUTOR,
    Frame(
        "vllm/v1/executor/multiproc_executor.py", 762, "wait_for_ready", "raise e from None"
    ),
)  # fmt: skip
HEADLESS = (
    Frame("/usr/local/bin/vllm", 5, "<module>", "sys.exit(main())"),
    Frame(
        "vllm/entrypoints/cli/serve.py", 219, "run_headless",
        "executor = MultiprocExecutor(vllm_config, monitor_workers=False)",
    ),
    *WITHOUT_RAY[-1:],
)  # fmt: skip
CACHE = (
    *START,
    Frame(
        "vllm/v1/engine/core.py", 132, "__init__",
        "kv_cache_config = self._initialize_kv_caches(vllm_config)",
    ),
    Frame(
        "vllm/v1/core/kv_cache_utils.py", 740, "_check_enough_kv_cache_memory",
        "raise ValueError(",
    ),
)  # fmt: skip
LOOP = (
    Frame("vllm/v1/engine/core.py", 1188, "run_engine_core", "engine_core.run_busy_loop()"),
    Frame("vllm/v1/engine/core.py", 1227, "run_busy_loop", "self._process_input_queue()"),
)
FAILED = (
    *LOOP,
    Frame(
        "vllm/v1/engine/core.py", 1365, "_handle_client_request",
        'raise RuntimeError("Executor failed.")',
    ),
)  # fmt: skip
OUTPUT = (
    Frame(
        "vllm/v1/engine/async_llm.py", 660, "output_handler",
        "outputs = await engine_core.get_output_async()",
    ),
    Frame(
        "vllm/v1/engine/core_client.py", 1046, "get_output_async",
        "raise self._format_exception(outputs) from None",
    ),
)  # fmt: skip
SERVER = (
    Frame("/usr/local/bin/vllm", 5, "<module>", "sys.exit(main())"),
    Frame("vllm/entrypoints/cli/serve.py", 148, "cmd", "uvloop.run(run_server(args))"),
    Frame("vllm/v1/engine/utils.py", 1249, "wait_for_engine_startup", "raise RuntimeError("),
)
WORKER = (
    Frame(
        "vllm/v1/executor/multiproc_executor.py", 855, "worker_main",
        "worker = WorkerProc(*args, **kwargs)",
    ),
)  # fmt: skip
KILL = (
    Frame(
        "ray/_private/worker.py", 3297, "kill",
        "worker.core_worker.kill_actor(actor._ray_actor_id, no_restart)",
    ),
)  # fmt: skip


def text_of(frames: Sequence[Frame], error: str) -> list[str]:
    """The lines of one traceback."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        lines += frame.lines()
    return [*lines, *error.split("\n")]


def logged(who: str, where: str, first: str, frames: Sequence[Frame], error: str) -> None:
    """By vLLM's logger, after the line that says what failed."""
    for line in [first, *text_of(frames, error)]:
        out(vllm_line(who, where, line, "ERROR"))


def printed(who: str, frames: Sequence[Frame], error: str, *before: str) -> None:
    """By Python, as it ends the process `who`; without one, as `vllm serve --headless`."""
    prefix = f"({who} pid={os.getpid()}) " if who else ""
    for line in [*before, *text_of(frames, error)]:
        out(prefix + line)
