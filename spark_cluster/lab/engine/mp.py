"""vLLM's mp executor over several nodes (0.11.1 and later): no Ray, one `vllm serve` per node.

The first node listens at --master-addr and --master-port; the others run `--headless`, start
their rank and wait for it. Each rank has its own container's environment: nothing is copied.
"""

from __future__ import annotations

import os
import signal

from .logs import out, vllm_line
from .release import version
from .spawn import spawn_rank
from .vllm_args import ServeArgs
from .wire import Json

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


def rank_spec(args: ServeArgs, size: int) -> Json:
    """What this node's rank must know."""
    host, port = address(args)
    tp = int(args.get("tensor_parallel_size"))
    rank = int(args.get("node_rank"))
    return {
        "world_size": size,
        "tp": tp,
        "model": args.model,
        "load_format": args.get("load_format"),
        "driver_ip": host,
        "driver_port": port,
        "rank": rank,
        "who": f"Worker_TP{rank % tp}" if tp > 1 else f"Worker_PP{rank}",
        "repeats": False,
        "patience": PATIENCE,
    }


def run_headless(args: ServeArgs) -> int:
    """A node without an API: its rank, until that ends or we are told to stop."""

    def say(text: str, level: str = "INFO") -> None:
        out(vllm_line("MainProcess", "serve.py:224", text, level))

    size = int(args.get("tensor_parallel_size")) * int(args.get("pipeline_parallel_size"))
    try:
        check(args, size)
    except MpError as error:
        out(str(error))
        return 1
    host, port = address(args)
    say(
        f"Launching vLLM (v{version()}) headless multiproc executor, with head node address "
        f"{host}:{port} for torch.distributed process group. (spark-lab stand-in)"
    )
    pid = spawn_rank({}, rank_spec(args, size))

    def stop(*_: object) -> None:
        os.kill(pid, signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    say(f"the worker ended with {code}; this node has nothing left to do", "WARNING")
    return 128 - code if code < 0 else code
