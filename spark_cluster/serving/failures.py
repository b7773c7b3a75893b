"""Why a starting engine failed: patterns of its log, each with a reason and a remedy.

A pattern is what a person should read first, once the engine has ended or stands still. No pattern
by itself ends a launch: engines warn of what they survive (vLLM says on every host that has fewer
GPUs than the job has ranks that they may not suffice) and NCCL retries what failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Failure:
    """`reason` and `remedy` are what a person reads.

    order        its place in the table: what is nearer to a cause comes first
    consequence  it tells only that something else has failed, here or on another rank
    time         seconds since 1970 by the clock of the host whose log it is; None if unknown
    rank         that it is about, or `address` of its host, if the line names them: Ray's driver
                 repeats what the workers say
    """

    reason: str
    remedy: str
    order: int = 0
    consequence: bool = False
    time: float | None = None
    rank: int | None = None
    address: str = ""


@dataclass(frozen=True)
class _Sign:
    """A line that means a failure. `reason` is filled with the pattern's groups; those named `rank`
    and `address` say whom it is about.

    `final`: nothing can go on after it, wherever it stands; otherwise it counts only if no
    milestone follows.
    """

    pattern: re.Pattern[str]
    reason: str
    remedy: str
    final: bool = True
    consequence: bool = False


def _sign(pattern: str, reason: str, remedy: str, *, final: bool = True) -> _Sign:
    return _Sign(re.compile(pattern, re.ASCII), reason, remedy, final)


def _after(pattern: str, reason: str, remedy: str) -> _Sign:
    return _Sign(re.compile(pattern, re.ASCII), reason, remedy, consequence=True)


_LOG_ABOVE = "Read the lines above it in the log of the rank that ended first."
_OTHER_RANK = "See that rank's container: `docker logs` on its host, and the kernel's log."

#: What an exception tells that only repeats another one, or that Ray's end makes of itself.
_REPEATS = re.compile(
    r"Engine core initialization failed|Executor failed\.|EngineDeadError|EngineGenerateError"
    r"|WorkerProc initialization failed|Failed to find a corresponding actor handle"
    r"|ActorHandleNotFoundError|cannot pickle|ray\.exceptions\.RayTaskError|ActorDiedError"
    r"|RayActorError|Worker failed with error|Connection closed by peer|remote process exited"
    r"|CancelledError|KeyboardInterrupt|SystemExit",
    re.ASCII,
)

_EXCEPTION = re.compile(
    r"(?:^|[\s\]])((?:[a-zA-Z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?:: .*)?)$",
    re.ASCII,
)
#: After it nothing goes on in that process; what comes later is what Ray forwards late.
_FATAL = re.compile(
    r"EngineCore (?:failed to start|encountered a fatal error)\."
    r"|WorkerProc (?:failed to start|hit an exception)\.",
    re.ASCII,
)
_TRACEBACK = re.compile(r"\bTraceback \(most recent call last\)", re.ASCII)
#: pydantic's exception has its reason in the line after it.
_VALIDATION = re.compile(r"ValidationError: \d+ validation errors? for ", re.ASCII)
_VALUE_ERROR = re.compile(r"\s(Value error, .*?)(?: \[type=|$)", re.ASCII)
_ADDRESS = re.compile(r"\bip=(\d{1,3}(?:\.\d{1,3}){3})\b", re.ASCII)

#: Causes before consequences: of several signs the first of the table gives the failure.
_SIGNS = (
    _sign(
        r"ValueError: Free memory on device\s*(?:cuda:\d+\s*)?\(([^)]*)\)",
        "too little free memory when vLLM started: {0}",
        "Stop what holds memory on that host, drop its page cache, or lower the recipe's "
        "gpu_memory_utilization.",
    ),
    _sign(
        r"ValueError: World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)",
        "the engine needs {0} GPUs and sees {1}",
        "Its ranks are on several hosts only over Ray, or with --nnodes: correct the recipe.",
    ),
    _sign(
        r"ValueError: (?:Cannot provide a placement group|The number of required \w+ exceeds the "
        r"total number of available)",
        "Ray has no place for all ranks: a host or its GPU is not in the cluster, or is taken",
        "`ray status` in the head's container lists the GPUs; tear down and launch again: launch "
        "waits until Ray sees every host and its GPU.",
    ),
    _sign(
        r"Failed to initialize any NET plugin",
        "NCCL found no usable RDMA device and NCCL_NET=IB forbids sockets",
        "Check that the container has /dev/infiniband, IPC_LOCK and unlimited memlock, and that "
        "NCCL_IB_HCA names a device that is ACTIVE on this host.",
    ),
    _sign(
        r"NCCL WARN (?!.*\bretrying\b).*?Call to (ibv_\w+) failed(?: with error ([^\n]{1,80}))?",
        "an RDMA connection could not be made: {0} {1}",
        "Check the cable and the GID index on both ends; the peer must answer a jumbo ping on the "
        "same rail.",
    ),
    _sign(
        r"ncclInvalidUsage|NCCL error: invalid usage",
        "NCCL refused its settings (invalid usage): with NCCL_NET=IB it says so when it finds no "
        "usable RDMA device",
        "Check that the container has /dev/infiniband, IPC_LOCK and unlimited memlock, and that "
        "NCCL_IB_HCA names a device that is ACTIVE on each host; `launch --debug` has NCCL's own "
        "words.",
    ),
    _sign(
        # NCCL's result codes, and its words for them, which vLLM raises without the code's name.
        r"(ncclUnhandledCudaError|ncclSystemError|ncclInternalError|ncclInvalidArgument)"
        r"|NCCL error: (unhandled cuda error|unhandled system error|internal error"
        r"|invalid argument)",
        "NCCL failed: {0}{1}",
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
        r"To serve at least one request with the models?'s max seq len \((\d+)\)"
        r"(?:.*estimated maximum model length is (\d+))?",
        "the KV cache is too small for one request of {0} tokens",
        "Lower max_model_len of the recipe, or raise gpu_memory_utilization.",
    ),
    _sign(
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|outgoing traffic has been disabled"
        r"|We couldn't connect to 'https://huggingface\.co'"
        r"|Invalid repository ID or local directory specified",
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
    _sign(_TRACEBACK.pattern, "", _LOG_ABOVE, final=False),
    _after(
        r"RayWorkerProc rank=\[(?P<rank>\d{1,4})\] died unexpectedly",
        "the process of rank {0} died",
        _OTHER_RANK,
    ),
    _after(
        r"Connection closed by peer \[(?P<address>[0-9a-fA-F.:]{2,45})\]",
        "the rank at {0} is gone: it closed the connection",
        _OTHER_RANK,
    ),
    _after(
        r"NCCL WARN .*Connection closed by remote peer (?P<address>[^\s<]{1,64})",
        "the rank at {0} is gone: it closed the connection",
        _OTHER_RANK,
    ),
    _after(
        r"Worker proc VllmWorker-(?P<rank>\d{1,4}) died unexpectedly",
        "the process of rank {0} died",
        _OTHER_RANK,
    ),
    _after(
        r"ncclRemoteError|NCCL error: remote process exited",
        "a rank is gone, or the network to it",
        "See the other ranks' containers: `docker logs` on their hosts, and the kernel's log.",
    ),
    _after(
        r"ActorDiedError|RayActorError|WorkerCrashedError|Executor failed|EngineDeadError"
        r"|Received sigquit from a child process|WorkerProc initialization failed",
        "a worker died",
        "See the worker's container: `docker logs` on its host, and the kernel's log.",
    ),
    _after(r"Engine core initialization failed", "the engine core did not start", _LOG_ABOVE),
)


def find(
    lines: Sequence[str], last_milestone: int, times: Sequence[float | None] = ()
) -> Failure | None:
    """The failure that `lines` tell of: the first sign of the table that one of them holds.

    `last_milestone` is the number of the last line of progress, -1 if there is none; `times` are
    those of the lines, where they are known.
    """
    last = {order: number for number, line in enumerate(lines) for order in _signs(line)}
    for order, sign in enumerate(_SIGNS):
        number = last.get(order, -1)
        if number < 0 or (not sign.final and number < last_milestone and sign.reason):
            continue
        named: dict[str, str | None] = {}
        if sign.reason:
            match = sign.pattern.search(lines[number])
            assert match is not None
            reason = sign.reason.format(*(group or "" for group in match.groups())).strip()
            named = match.groupdict()
        elif found := _exception(lines, last_milestone):
            number, reason = found
        else:
            continue
        rank = named.get("rank")
        return Failure(
            reason,
            sign.remedy,
            order,
            sign.consequence,
            time=times[number] if times else None,
            rank=int(rank) if rank else None,
            address=named.get("address") or _address(lines, number),
        )
    return None


@lru_cache(maxsize=8192)
def _signs(line: str) -> tuple[int, ...]:
    """The signs that a line holds. A launch reads the same lines again and again."""
    return tuple(order for order, sign in enumerate(_SIGNS) if sign.pattern.search(line))


def _exception(lines: Sequence[str], after: int) -> tuple[int, str] | None:
    """The first exception, after what is fatal or else after the last progress, that does not only
    repeat another one: what follows it is raised while it is handled."""
    fatal = (number for number, line in enumerate(lines) if _FATAL.search(line))
    begun = None
    for number in range(next(fatal, after + 1), len(lines)):
        line = lines[number]
        if _TRACEBACK.search(line):
            begun = number if begun is None else begun
            continue
        found = _EXCEPTION.search(line) if begun is not None else None
        if found is None or "raise " in line or _REPEATS.search(found[1]):
            continue
        said = found[1]
        if _VALIDATION.search(said) and number + 1 < len(lines):
            more = _VALUE_ERROR.search(lines[number + 1])
            said += f": {more[1]}" if more else ""
        return number, f"an exception: {said[:200]}"
    if begun is None or any(_EXCEPTION.search(line) for line in lines[begun:]):
        return None  # none, or only such as repeat another
    return begun, "an exception (see the log)"


def _address(lines: Sequence[str], number: int) -> str:
    """The host that the line is about: by its own words, or by those of Ray's error whose cause it
    is, which stands at most a traceback above."""
    found = _ADDRESS.search(lines[number])
    for above in range(number - 1, max(-1, number - 80), -1):
        if found:
            break
        if "RayTaskError" in lines[above]:
            found = _ADDRESS.search(lines[above])
            break
    return found[1] if found else ""
