"""vLLM's mp executor over several nodes (0.11.1 and later): no Ray, one `vllm serve` per node.

The first node listens at --master-addr and --master-port; the others run `--headless`, start
their rank and wait for it. Each rank has its own container's environment: nothing is copied.
"""

from __future__ import annotations

import contextlib
import os
import signal

from . import tracebacks
from .logs import out, vllm_line
from .model import ModelError, find_model
from .release import version
from .spawn import spawn_rank
from .vllm_args import ServeArgs
from .wire import Json

BACKGROUND = (
    "Exception: WorkerProc initialization failed due to an exception in a background process. See "
    "stack trace for root cause."
)
"""All that a node says of its rank's exception, which is in the rank's own lines."""
PATIENCE = 300.0
"""Seconds that a rank waits for the first node: the time limit of torch's TCPStore."""


class MpError(Exception):
    """The arguments do not go together; the text is the last line of vLLM's traceback."""


def nodes(args: ServeArgs) -> int:
    """How many nodes the arguments name."""
    return int(args.get("nnodes"))


def check(args: ServeArgs, size: int) -> None:
    """What vLLM's ParallelConfig refuses. Raises MpError."""
    count, rank = nodes(args), int(args.get("node_rank"))
    backend = args.get("distributed_executor_backend")
    if backend not in (None, "mp"):
        raise MpError(
            "ValueError: nnodes > 1 can only be set when distributed executor backend is mp."
        )
    if size % count or size != count:
        raise MpError(
            f"ValueError: World size ({size}) over {count} nodes needs {size / count:g} GPUs in "
            "each, and this node has 1."
        )
    if not 0 <= rank < count:
        raise MpError(f"ValueError: node_rank ({rank}) must be in [0, {count})")
    if bool(rank) != bool(args.get("headless")):
        raise MpError(
            f"ValueError: node rank {rank} {'needs' if rank else 'cannot have'} --headless "
            "(spark-lab)"
        )


def address(args: ServeArgs) -> tuple[str, int]:
    """Where the first node listens."""
    return str(args.get("master_addr")), int(args.get("master_port"))


def rank_spec(args: ServeArgs, size: int, path: str, driver: tuple[str, int]) -> Json:
    """What every rank must know, by whatever executor."""
    return {
        "world_size": size,
        "tp": int(args.get("tensor_parallel_size")),
        "model": path,
        "load_format": args.get("load_format"),
        "utilization": args.get("gpu_memory_utilization"),
        "driver_ip": driver[0],
        "driver_port": driver[1],
    }


def own_rank(args: ServeArgs) -> Json:
    """And what this node's rank must know of itself."""
    return {"rank": int(args.get("node_rank")), "executor": "mp", "patience": PATIENCE}


def run_headless(args: ServeArgs) -> int:
    """A node without an API: its rank, until that ends or we are told to stop."""

    def say(text: str, where: str = "serve.py:212", level: str = "INFO") -> None:
        out(vllm_line("", where, text, level))

    size = int(args.get("tensor_parallel_size")) * int(args.get("pipeline_parallel_size"))
    try:
        check(args, size)
        model = find_model(args.model, os.environ, str(args.get("load_format")))
    except (MpError, ModelError) as error:
        tracebacks.printed("", tracebacks.MAIN, str(error))
        return 1
    for where, text in model.told(args.model, int(args.get("max_model_len") or model.context)):
        say(text, where)
    host, port = address(args)
    say(
        f"Launching vLLM (v{version()}) headless multiproc executor, with head node address "
        f"{host}:{port} for torch.distributed process group. (spark-lab stand-in)"
    )
    pid = spawn_rank({}, {**rank_spec(args, size, model.path, (host, port)), **own_rank(args)})

    def stop(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # it may have ended already
            os.kill(pid, signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    where = "multiproc_executor.py:428"
    say("[shutdown] Executor: waiting for worker exit count=1", where)
    say("[shutdown] Executor: all workers exited gracefully", "multiproc_executor.py:433")
    if code == 1:
        tracebacks.printed("", tracebacks.HEADLESS, BACKGROUND)
    return 128 - code if code < 0 else code
