"""Why a starting engine failed: patterns of its log, each with a reason and a remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """`reason` and `remedy` are what a person reads."""

    reason: str
    remedy: str


@dataclass(frozen=True)
class _Sign:
    """A line that means a failure.

    `reason` and `remedy` are filled with the pattern's groups. `final`: nothing can go on after it,
    wherever it stands; otherwise it counts only if no milestone follows.
    """

    pattern: re.Pattern[str]
    reason: str
    remedy: str
    final: bool = True


def _sign(pattern: str, reason: str, remedy: str, *, final: bool = True) -> _Sign:
    return _Sign(re.compile(pattern, re.ASCII), reason, remedy, final)


_LOG_ABOVE = "Read the lines above it in the log of the rank that ended first."

#: Causes before consequences: the first sign that the log holds gives the failure.
_SIGNS = (
    _sign(
        r"ValueError: Free memory on device\s*(?:cuda:\d+\s*)?\(([^)]*)\)",
        "too little free memory when vLLM started: {0}",
        "Stop what holds memory on that host, drop its page cache, or lower the recipe's "
        "gpu_memory_utilization.",
    ),
    _sign(
        r"Tensor parallel size \((\d+)\) exceeds available GPUs \((\d+)\)"
        r"|World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)",
        "the engine needs {0}{2} GPUs and sees {1}{3}: it started before all workers had joined",
        "Tear down and launch again; launch waits until Ray sees every host and its GPU.",
    ),
    _sign(
        r"Failed to initialize any NET plugin",
        "NCCL found no usable RDMA device and NCCL_NET=IB forbids sockets",
        "Check that the container has /dev/infiniband, IPC_LOCK and unlimited memlock, and that "
        "NCCL_IB_HCA names a device that is ACTIVE on this host.",
    ),
    _sign(
        r"Call to (ibv_\w+) failed(?: with error ([^\n]{1,80}))?",
        "an RDMA connection could not be made: {0} {1}",
        "Check the cable and the GID index on both ends; the peer must answer a jumbo ping on the "
        "same rail.",
    ),
    _sign(
        r"\b(ncclInvalidUsage|ncclSystemError|ncclInternalError|ncclRemoteError"
        r"|ncclUnhandledCudaError)\b",
        "NCCL ended with {0}",
        "Read NCCL's lines in the logs of both ranks; NCCL_DEBUG=INFO gives more.",
    ),
    _sign(
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|CUDA error: out of memory",
        "out of GPU memory",
        "Lower gpu_memory_utilization, max_model_len or max_num_seqs of the recipe.",
    ),
    _sign(
        r"No available memory for the cache blocks",
        "no memory was left for the KV cache after loading the model",
        "Raise gpu_memory_utilization, or choose a smaller model or more hosts.",
    ),
    _sign(
        r"ValueError: To serve at least one request with the models's max seq len \((\d+)\)",
        "the KV cache is too small for one request of {0} tokens",
        "Lower max_model_len of the recipe, or raise gpu_memory_utilization.",
    ),
    _sign(
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|outgoing traffic has been disabled"
        r"|We couldn't connect to 'https://huggingface\.co'",
        "a model file is not in the host's cache, and downloads are off",
        "Complete the model's files in the cache of every host before the launch.",
    ),
    _sign(
        r"(?:vllm|api_server\.py)[^\n]{0,40}: error: ([^\n]{1,160})",
        "vLLM refused its arguments: {0}",
        "The recipe's arguments do not fit the vLLM of its image; correct them.",
    ),
    _sign(
        r"launch_server\.py: error: ([^\n]{1,160})",
        "SGLang refused its arguments: {0}",
        "The recipe's arguments do not fit the SGLang of its image; correct them.",
    ),
    _sign(
        r"Permission denied \(publickey|Host key verification failed|ssh: connect to host (\S+)",
        "mpirun could not log in to a worker's container {0}",
        "`spark-cluster mesh` makes the keys; the worker's `docker logs` has what its sshd says.",
    ),
    _sign(
        r"There are not enough slots available in the system",
        "mpirun sees fewer hosts than the recipe has",
        "Look at the hostfile in the head's container, /etc/spark-cluster/hostfile.",
    ),
    _sign(
        r"spark-cluster: the model could not be made \(status (\d+)\)",
        "Ollama could not make the model (status {0})",
        "The lines above it say why: the Modelfile, or the name of the model that it starts from.",
    ),
    _sign(
        r"OSError: \[Errno 98\]|[Aa]ddress already in use",
        "the API server's port is in use",
        "Stop what listens there, or change the recipe's port.",
        final=False,
    ),
    _sign(
        r"Connection closed by peer \[([0-9a-fA-F.:]{2,45})\]",
        "the rank at {0} is gone: it closed the connection",
        "See that rank's container: `docker logs` on its host, and the kernel's log.",
    ),
    _sign(
        r"Engine core initialization failed",
        "the engine core did not start",
        _LOG_ABOVE,
    ),
    _sign(
        r"ActorDiedError|RayActorError|WorkerCrashedError|Executor failed|EngineDeadError"
        r"|Received sigquit from a child process|Worker proc \S+ died unexpectedly",
        "a worker died",
        "See the worker's container: `docker logs` on its host, and the kernel's log.",
    ),
    _sign(
        r"spark-cluster: (vllm serve|trtllm-serve) exited with ([1-9]\d{0,3})\b",
        "{0} exited with status {1}",
        _LOG_ABOVE,
    ),
    _sign(
        r"spark-cluster: (vllm serve|trtllm-serve) exited with 0\b",
        "{0} ended by itself",
        "Something asked it to stop; the end of the log says when.",
    ),
    _sign(r"\bTraceback \(most recent call last\)", "", "", final=False),
)

_EXCEPTION = re.compile(
    r"(?:^|[\s\]])((?:[a-zA-Z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?:: .*)?)$",
    re.ASCII,
)


def _exception(lines: list[str], start: int) -> str:
    """The exception that the traceback at line `start` ends with; empty if it has not ended."""
    for line in lines[start + 1 :]:
        found = _EXCEPTION.search(line)
        if found and "raise " not in line:
            return found[1][:200]
    return ""


def _traceback(lines: list[str], number: int) -> Failure:
    exception = _exception(lines, number)
    reason = f"an exception: {exception}" if exception else "an exception (see the log)"
    return Failure(reason, _LOG_ABOVE)


def _last_line(lines: list[str], sign: _Sign) -> tuple[int, re.Match[str]] | None:
    for number in range(len(lines) - 1, -1, -1):
        found = sign.pattern.search(lines[number])
        if found:
            return number, found
    return None


def find_failure(lines: list[str], last_milestone: int) -> Failure | None:
    """The failure that `lines` tell of; `last_milestone` is the number of the last line of
    progress, -1 if there is none."""
    for sign in _SIGNS:
        found = _last_line(lines, sign)
        if found is None or (not sign.final and found[0] < last_milestone):
            continue
        if not sign.reason:
            return _traceback(lines, found[0])
        groups = [group or "" for group in found[1].groups()]
        return Failure(sign.reason.format(*groups).strip(), sign.remedy)
    return None
