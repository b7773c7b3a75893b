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
#: November 2026); for 25.09 and 25.11 the project's notes.
NGC_RELEASES = {
    (25, 9): "0.10.1.1",
    (25, 10): "0.10.2",
    (25, 11): "0.11.0",
    (26, 1): "0.11.1",
    (26, 3): "0.17.1",
    (26, 5): "0.20.1",
    (26, 10): "0.31.0",
}

#: NVIDIA's image, also in a registry that mirrors it.
_NGC = re.compile(r"(?:\S+/)?nvidia/vllm:(\d\d)\.(\d\d)(?!\d)")

#: The first of NVIDIA's images known to ship without Ray.
NGC_WITHOUT_RAY = (26, 5)

#: Arguments that recipes often have: for those whose name is nearly one of them.
COMMON_ARGUMENTS = (
    "api-server-count", "async-scheduling", "attention-backend", "block-size", "chat-template",
    "compilation-config", "data-parallel-size", "default-chat-template-kwargs",
    "distributed-executor-backend", "download-dir", "dtype", "enable-auto-tool-choice",
    "enable-chunked-prefill", "enable-expert-parallel", "enable-log-requests",
    "enable-prefix-caching", "enforce-eager", "generation-config", "gpu-memory-utilization",
    "hf-overrides", "kv-cache-dtype", "kv-cache-memory-bytes", "kv-transfer-config",
    "limit-mm-per-prompt", "load-format", "long-prefill-token-threshold", "max-model-len",
    "max-num-batched-tokens", "max-num-seqs", "max-num-partial-prefills", "mm-encoder-tp-mode",
    "mm-processor-cache-gb", "moe-backend", "no-enable-chunked-prefill",
    "no-enable-prefix-caching", "pipeline-parallel-size", "quantization", "reasoning-parser",
    "revision", "safetensors-load-strategy", "scheduling-policy", "seed", "served-model-name",
    "skip-mm-profiling", "speculative-config", "swap-space", "tensor-parallel-size", "tokenizer",
    "tokenizer-mode", "tool-call-parser", "trust-remote-code",
)  # fmt: skip


def ngc(image: str) -> tuple[int, int] | None:
    """Year and month of NVIDIA's image of vLLM, None for any other image."""
    match = _NGC.match(image)
    return (int(match[1]), int(match[2])) if match else None


def release(text: str) -> Version | None:
    """The release in `0.10.1.1+381074ae.nv25.09`, without what comes after the plus; None if the
    text is no version."""
    try:
        return Version(Version(text).base_version)
    except InvalidVersion:
        return None
