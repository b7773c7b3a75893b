"""Which lines of engines' logs mean a failure, in the order of how much they explain.

NCCL's rows are made from its own table (rdma/nccl_events.py), so that launch and `verify-rdma
--from-log` read a line alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from spark_cluster.rdma import nccl_events

#: cause: it says why. symptom: the same is seen where another rank died. consequence: it tells only
#: that something else has failed, here or on another rank.
Grade = Literal["cause", "symptom", "consequence"]

#: The diagnosis of a failure that has none of its own.
ENGINE = "SERVE007"


@dataclass(frozen=True)
class Sign:
    """A line that means a failure: one that `pattern` finds, or that tells of NCCL's event `event`.
    `reason` is filled with the pattern's groups; those named `rank` and `address` say whom it is
    about. Without a reason it is the exception that a traceback ends with.

    `final`: nothing can go on after it, wherever it stands; otherwise it counts only if no
    milestone follows.
    """

    pattern: re.Pattern[str] | None
    reason: str
    remedy: str
    final: bool = True
    grade: Grade = "cause"
    code: str = ENGINE
    event: str = ""

    def holds(self, line: str) -> bool:
        """Whether the line is one of it."""
        if self.pattern is not None:
            return self.pattern.search(line) is not None
        found = nccl_events.read(line)
        return found is not None and found.kind.name == self.event

    def told(self, line: str) -> tuple[str, dict[str, str]]:
        """The reason that a line of it gives, and whom it names."""
        if self.pattern is None:
            found = nccl_events.read(line)
            assert found is not None
            peer = found.peer if found.kind.name == "lost-peer" else ""
            return nccl_events.describe(found), {"address": peer}
        match = self.pattern.search(line)
        assert match is not None
        named = {key: value for key, value in match.groupdict().items() if value}
        return self.reason.format(*(group or "" for group in match.groups())).strip(), named


def _sign(
    pattern: str, reason: str, remedy: str, *, final: bool = True, code: str = ENGINE
) -> Sign:
    return Sign(re.compile(pattern, re.ASCII), reason, remedy, final, code=code)


def _after(pattern: str, reason: str, remedy: str) -> Sign:
    return Sign(re.compile(pattern, re.ASCII), reason, remedy, grade="consequence")


def _of_nccl(grade: Grade) -> tuple[Sign, ...]:
    return tuple(
        Sign(None, kind.text, kind.remedy, grade=grade, code=kind.code, event=kind.name)
        for kind in nccl_events.KINDS
        if kind.outcome == grade
    )


TRACEBACK = re.compile(r"\bTraceback \(most recent call last\)", re.ASCII)

_LOG_ABOVE = "Read the lines above it in the log of the rank that ended first."
_OTHER_RANK = "See that rank's container: `docker logs` on its host, and the kernel's log."


_CAUSES = (
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
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|CUDA error: out of memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation",
        "out of GPU memory",
        "Lower gpu_memory_utilization, max_model_len or max_num_seqs of the recipe.",
    ),
    _sign(
        r"node running low on memory|Out of memory: Killed process|std::bad_alloc"
        r"|OSError: \[Errno 12\]|DefaultCPUAllocator: .*allocate memory",
        "the host's memory ran out",
        "Lower gpu_memory_utilization, max_model_len or max_num_seqs of the recipe; a Spark's CPU "
        "and GPU share one memory, of which 4 GiB must stay free.",
        code="HOST021",
    ),
    _sign(
        r"No available memory for the cache blocks",
        "no memory was left for the KV cache after loading the model",
        "Raise gpu_memory_utilization while 4 GiB of the host's memory stay available, or choose "
        "a smaller model or more hosts.",
    ),
    _sign(
        r"To serve at least one request with the models?'s max seq len \((\d+)\)"
        r"(?:.*estimated maximum model length is (\d+))?",
        "the KV cache is too small for one request of {0} tokens",
        "Lower max_model_len of the recipe, or raise gpu_memory_utilization while 4 GiB of the "
        "host's memory stay available.",
    ),
    _sign(
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|outgoing traffic has been disabled"
        r"|We couldn't connect to 'https://huggingface\.co'"
        r"|Invalid repository ID or local directory specified",
        "a model file is not in the host's cache, and downloads are off",
        "Complete the model's files in the cache of every host before the launch.",
    ),
    _sign(
        r"Unable to find address for: (\S{1,64})",
        "GLOO_SOCKET_IFNAME names {0}, which has no address on this host",
        "Give the interface its address (`spark-cluster bootstrap`), or name another one in "
        "GLOO_SOCKET_IFNAME: the cable may be in the other port on this host.",
        code="NET016",
    ),
    _sign(
        # vLLM warns of it in backticks wherever the limit is below its wish.
        r"(?<!`)OSError: \[Errno 24\]|ZMQError: Too many open files",
        "too many files are open at once (nofile)",
        "Give the container --ulimit nofile=1048576:1048576, as `spark-cluster launch` does, or "
        "docker default-ulimits in /etc/docker/daemon.json; then start again.",
        final=False,
        code="HOST025",
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
)

#: What an engine says of itself and of the host: nearer to a cause than what NCCL says of a network
#: whose other end may be dead.
_LESS_CERTAIN = (
    _sign(
        r"SemLock\._rebuild\(",
        "a semaphore that the engine's processes share is gone (FileNotFoundError in SemLock): "
        "logind removes a user's when the last session ends (RemoveIPC), or the process that made "
        "it had ended",
        "On every host `loginctl enable-linger USER` for the user that the container runs as, or "
        "RemoveIPC=no in /etc/systemd/logind.conf and a reboot; then launch again.",
        final=False,
        code="HOST014",
    ),
    _sign(TRACEBACK.pattern, "", _LOG_ABOVE, final=False),
)

_CONSEQUENCES = (
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
        r"Worker proc VllmWorker-(?P<rank>\d{1,4}) died unexpectedly",
        "the process of rank {0} died",
        _OTHER_RANK,
    ),
    _after(
        r"ActorDiedError|RayActorError|WorkerCrashedError|Executor failed|EngineDeadError"
        r"|Received sigquit from a child process|WorkerProc initialization failed",
        "a worker died",
        "See the worker's container: `docker logs` on its host, and the kernel's log.",
    ),
    _after(r"Engine core initialization failed", "the engine core did not start", _LOG_ABOVE),
)

#: Of several signs in a log the first of the table gives the failure.
SIGNS = (
    *_CAUSES,
    *_of_nccl("cause"),
    *_of_nccl("symptom"),
    *_LESS_CERTAIN,
    *_CONSEQUENCES,
    *_of_nccl("consequence"),
)

#: What an engine warns of and goes on; filled like a reason.
WARNINGS = (
    (
        re.compile(r"Unknown vLLM environment variable detected: (\w{1,64})", re.ASCII),
        "this vLLM does not know the variable {0} and passes over it: what it asked for needs an "
        "argument of this release, or another image",
    ),
)

#: Where an engine is known to stand still: it counts only if nothing follows for a long time, since
#: every start comes past it. SGLang's form of line; vLLM says the same and is not meant.
STANDSTILLS = (
    _sign(
        r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^\]]{0,24}\] Custom ?[Aa]ll[Rr]educe is disabled "
        r"because this process group spans across nodes",
        "SGLang's ranks do not find each other beside NCCL: on a host with several networks it "
        "guesses the address that it tells the others, such as Wi-Fi's",
        "Set SGLANG_HOST_IP in each rank's container to that rank's own address on the rail, as "
        "`spark-cluster launch` does.",
    ),
)
