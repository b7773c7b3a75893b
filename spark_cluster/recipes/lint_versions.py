"""What vLLM's releases added and dropped, as far as recipes have to do with it: data for lint.py.

Add a row when a release takes something away that a recipe may set. `since` is the first release
known to have it, `gone` the first known not to; None: always, or still there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from packaging.version import InvalidVersion, Version


@dataclass(frozen=True)
class Row:
    """A variable or an argument of vLLM. `instead` is what to write in its place, `effect` what
    happens to who writes it all the same, `source` who saw it."""

    kind: Literal["env", "args"]
    name: str
    since: str | None = None
    gone: str | None = None
    instead: str = ""
    effect: str = ""
    source: str = ""


#: Releases installed and their source searched in November 2026, unless it says otherwise.
_SEARCHED = "vLLM's source, release by release"
_WHEELS = "vLLM's wheels 0.20 to 0.33, compared"
_ENDS = "vllm serve ends with 'unrecognized arguments'"
_IGNORED = (
    "the variable is ignored; the log says `Unknown vLLM environment variable detected` and no more"
)
_MOE = "the argument `moe-backend`"
_JOIN = "spark-cluster gives it to each rank; engine vllm-mp needs this release"

ROWS = (
    Row(
        "env", "VLLM_ATTENTION_BACKEND", gone="0.15.1",
        instead="the argument `attention-backend` with the same value (there since 0.13)",
        effect="the variable is ignored without a word, and the default backend runs",
        source=f"{_SEARCHED}; vllm issue 50292 on 0.26.0",
    ),
    Row(
        "args", "attention-backend", since="0.13.0",
        instead="the variable VLLM_ATTENTION_BACKEND",
        effect="vllm serve ends with 'unrecognized arguments'", source=_SEARCHED,
    ),
    Row(
        "env", "VLLM_SLEEP_WHEN_IDLE", gone="0.18.1",
        effect="the variable is ignored without a word (last seen in 0.17.1)", source=_SEARCHED,
    ),
    Row(
        "args", "disable-log-requests", gone="0.17.1",
        instead="nothing: requests are logged only with `enable-log-requests`",
        effect="vllm serve ends with 'unrecognized arguments'", source=_SEARCHED,
    ),
    Row("args", "nnodes", since="0.11.1", effect=_JOIN, source=_SEARCHED),
    Row("args", "node-rank", since="0.11.1", effect=_JOIN, source=_SEARCHED),
    Row("args", "master-addr", since="0.11.1", effect=_JOIN, source=_SEARCHED),
    Row("args", "master-port", since="0.11.1", effect=_JOIN, source=_SEARCHED),
    *(
        Row("env", name, gone="0.24.0", instead=instead, effect=_IGNORED, source=_WHEELS)
        for name, instead in (
            ("VLLM_USE_FLASHINFER_MOE_FP4", _MOE),
            ("VLLM_USE_FLASHINFER_MOE_FP8", _MOE),
            ("VLLM_USE_FLASHINFER_MOE_FP16", _MOE),
            ("VLLM_USE_FLASHINFER_MOE_MXFP4_BF16", _MOE),
            ("VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8", _MOE),
            ("VLLM_USE_FLASHINFER_MOE_MXFP4_MXFP8_CUTLASS", _MOE),
            ("VLLM_FLASHINFER_MOE_BACKEND", _MOE),
            ("VLLM_MXFP4_USE_MARLIN", "the argument `moe-backend` with the value marlin"),
            ("VLLM_NVFP4_GEMM_BACKEND", "the argument `linear-backend`"),
        )
    ),
    Row(
        "env", "VLLM_TEST_FORCE_FP8_MARLIN", gone="0.29.0",
        instead="the argument `linear-backend` with the value marlin", effect=_IGNORED,
        source=_WHEELS,
    ),
    Row(
        "env", "VLLM_PLE_CPU_OFFLOAD", since="0.30.0", gone="0.31.0", effect=_IGNORED,
        source=_WHEELS,
    ),
    Row("env", "VLLM_ENGINE_ITERATION_TIMEOUT_S", gone="0.32.0", effect=_IGNORED, source=_WHEELS),
    *(
        Row("env", name, gone="0.33.0", effect=_IGNORED, source=_WHEELS)
        for name in (
            "VLLM_USE_RAY_COMPILED_DAG_CHANNEL_TYPE",
            "VLLM_USE_RAY_COMPILED_DAG_OVERLAP_COMM",
            "VLLM_USE_RAY_V2_EXECUTOR_BACKEND",
        )
    ),
    *(
        Row("args", name, gone=gone, effect=_ENDS, source=_WHEELS)
        for name, gone in (
            ("max-num-partial-prefills", "0.27.0"),
            ("max-long-partial-prefills", "0.27.0"),
            ("calculate-kv-scales", "0.28.0"),
            ("override-attention-dtype", "0.28.0"),
        )
    ),
    *(
        Row("args", name, since=since, effect=_ENDS, source=_WHEELS)
        for name, since in (
            ("linear-backend", "0.22.0"),
            ("spec-method", "0.22.0"),
            ("spec-model", "0.22.0"),
            ("spec-tokens", "0.22.0"),
            ("device-ids", "0.24.0"),
            ("enable-fault-tolerance", "0.27.0"),
            ("max-num-queued-reqs", "0.29.0"),
            ("engram-config", "0.30.0"),
            ("device-memory-utilization", "0.31.0"),
            ("log-level", "0.31.0"),
            ("watchdog-config", "0.33.0"),
        )
    ),
    Row(
        "env", "VLLM_USE_RAY_COMPILED_DAG", gone="0.11.0",
        effect="the V1 engine always compiles the DAG and ignores the variable",
        source="two Sparks in January 2026, nvcr.io/nvidia/vllm:25.11-py3",
    ),
)  # fmt: skip

#: The first release with the mp executor over several hosts (`--nnodes`).
MP_OVER_HOSTS = "0.11.1"

#: From here on Ray is never chosen by itself when there are several hosts.
RAY_EXPLICIT = "0.22.0"

#: The last release on which --async-scheduling was seen to force the mp executor over Ray's.
ASYNC_BREAKS_RAY = "0.11.0"

#: What NVIDIA's images hold: (year, month) of the tag and vLLM's release. Source: NVIDIA's release
#: notes, docs.nvidia.com/deeplearning/frameworks/vllm-release-notes/rel-YY-MM.html (read in
#: November 2026); for 25.09 and 25.11 the project's notes, for 26.02 a forum's.
NGC_RELEASES = {
    (25, 9): "0.10.1.1",
    (25, 10): "0.10.2",
    (25, 11): "0.11.0",
    (26, 1): "0.11.1",
    (26, 2): "0.15.1",
    (26, 3): "0.17.1",
    (26, 5): "0.20.1",
    (26, 10): "0.31.0",
}

#: NVIDIA's image, also in a registry that mirrors it.
_NGC = re.compile(r"(?:\S+/)?nvidia/vllm:(\d\d)\.(\d\d)(?!\d)")

#: The first of NVIDIA's images known to ship without Ray.
NGC_WITHOUT_RAY = (26, 5)

#: vLLM's own image, and the release in its tag (`v0.28.0`, `v0.24.0-ubuntu2404`).
_OPENAI = re.compile(r"(?:\S+/)?vllm/vllm-openai(?:@|:|$)")
_OPENAI_RELEASE = re.compile(r"(?:\S+/)?vllm/vllm-openai:v(\d+\.\d+\.\d+)(?![\d.])")

#: The fork local-inference-lab/vllm in eugr's images: `eugr/spark-vllm-b12x`, built as
#: `vllm-node-b12x`.
_FORK = re.compile(r"(?:\S+/)?\S*b12x\S*")

#: What only the fork knows: variables by a pattern, arguments by name, and values that name its
#: kernels.
FORK_VARIABLES = re.compile(
    r"\w*B12X\w*|VLLM_ENABLE_ROCE_ALLREDUCE|VLLM_ROCE_ALLREDUCE_MAX_SIZE"
    r"|VLLM_MEMORY_PROFILE_INCLUDE_ATTN"
)
FORK_ARGUMENTS = ("gdn-decode-kernel",)
FORK_VALUE = "b12x"

#: NCCL in vLLM's wheels (aarch64), and with them in every image that is made from one: the first
#: and the last release known to hold it. NVIDIA's images have their own.
WHEEL_NCCL = (("0.20", "0.26", "2.28.9"), ("0.27.1", "0.32", "2.29.7"), ("0.33", "0.33", "2.30.7"))

#: From here on no wheel of vLLM asks for Ray, and vLLM's own images are without it.
RAY_NOT_REQUIRED = "0.20.0"

#: Arguments that recipes often have: for those whose name is nearly one of them.
COMMON_ARGUMENTS = (
    "api-server-count", "async-scheduling", "attention-backend", "block-size", "chat-template",
    "compilation-config", "data-parallel-size", "decode-context-parallel-size",
    "default-chat-template-kwargs",
    "distributed-executor-backend", "download-dir", "dtype", "enable-auto-tool-choice",
    "enable-chunked-prefill", "enable-expert-parallel", "enable-log-requests",
    "enable-prefix-caching", "enforce-eager", "generation-config", "gpu-memory-utilization",
    "hf-overrides", "kv-cache-dtype", "kv-cache-memory-bytes", "kv-transfer-config",
    "limit-mm-per-prompt", "load-format", "long-prefill-token-threshold",
    "mamba-cache-mode", "mamba-ssm-cache-dtype", "max-cudagraph-capture-size", "max-model-len",
    "max-num-batched-tokens", "max-num-seqs", "mm-encoder-tp-mode",
    "mm-processor-cache-gb", "moe-backend", "no-enable-chunked-prefill",
    "no-enable-prefix-caching", "optimization-level", "pipeline-parallel-size", "quantization",
    "reasoning-parser",
    "revision", "safetensors-load-strategy", "scheduling-policy", "seed", "served-model-name",
    "skip-mm-profiling", "speculative-config", "swap-space", "tensor-parallel-size", "tokenizer",
    "tokenizer-mode", "tool-call-parser", "trust-remote-code",
)  # fmt: skip


def ngc(image: str) -> tuple[int, int] | None:
    """Year and month of NVIDIA's image of vLLM, None for any other image."""
    match = _NGC.match(image)
    return (int(match[1]), int(match[2])) if match else None


def held(image: str) -> str | None:
    """The release of vLLM that the image's name tells; None if it tells none."""
    month = ngc(image)
    if month is not None:
        return NGC_RELEASES.get(month)
    match = _OPENAI_RELEASE.match(image)
    return match[1] if match else None


def is_openai(image: str) -> bool:
    """Whether it is vLLM's own image, also in a registry that mirrors it."""
    return bool(_OPENAI.match(image))


def is_fork(image: str) -> bool:
    """Whether the image's name says that it holds the fork with the b12x kernels."""
    return bool(_FORK.fullmatch(image))


def wheel_nccl(version: Version) -> str | None:
    """The NCCL in the wheel of this release of vLLM; None if nobody has looked."""
    minor = Version(f"{version.major}.{version.minor}")
    return next(
        (
            nccl
            for first, last, nccl in WHEEL_NCCL
            if Version(first) <= version and minor <= Version(last)
        ),
        None,
    )


def release(text: str) -> Version | None:
    """The release in `0.10.1.1+381074ae.nv25.09`, without what comes after the plus; None if the
    text is no version."""
    try:
        return Version(Version(text).base_version)
    except InvalidVersion:
        return None
