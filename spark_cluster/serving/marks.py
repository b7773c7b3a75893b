"""The lines of engines' logs that mean a milestone of the start-up, one table an engine."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """A line that means a milestone; `detail` is filled with the pattern's groups."""

    key: str
    text: str
    pattern: re.Pattern[str]
    detail: str = ""


def mark(key: str, text: str, pattern: str, detail: str = "") -> Mark:
    return Mark(key, text, re.compile(pattern, re.ASCII), detail)


#: vLLM 0.10 to 0.33.
_VLLM = (
    mark("arguments", "vLLM has started", r"non-default args: "),
    mark("model", "model configuration read", r"Resolved architecture: (\w+)", "{0}"),
    mark("engine", "engine is starting", r"Initializing an? (?:V1 )?LLM engine"),
    mark(
        "ranks",
        "ranks have found each other",
        r"rank \d+ in world size (\d+) is assigned as",
        "world size {0}",
    ),
    mark("loading", "loading the model", r"Starting to load model "),
    mark(
        "shards",
        "loading weights",
        r"Loading \w*(?:safetensors|pt) checkpoint shards:\s*(\d+)% Completed \| (\d+)/(\d+)",
        "{1} of {2} shards, {0} %",
    ),
    mark("weights", "weights loaded", r"Loading weights took ([0-9.]+) seconds", "{0} s"),
    mark(
        "loaded",
        "model loaded",
        r"Model loading took ([0-9.]+ ?Gi?B)(?: memory)? and ([0-9.]+) seconds",
        "{0}, {1} s",
    ),
    mark(
        "encoder",
        "profiling the vision encoder: minutes, up to an hour on the first start",
        r"Encoder cache will be initialized with a budget of (\d+) tokens",
        "{0} tokens",
    ),
    mark(
        "compile",
        "compiling",
        r"(?:torch\.compile takes|torch\.compile took|Dynamo bytecode transform time:) ([0-9.]+) s",
        "{0} s",
    ),
    mark(
        "kv-memory",
        "memory for the KV cache measured",
        r"Available KV cache memory: ([0-9.]+ ?Gi?B)",
        "{0}",
    ),
    mark("kv-cache", "KV cache made", r"KV cache size: ([0-9,]+) tokens", "{0} tokens"),
    mark(
        "graphs",
        "capturing CUDA graphs",
        r"Capturing CUDA graphs?(?: shapes)?(?: \([^)]*\))?:\s*\d+%.*?\| (\d+)/(\d+)",
        "{0} of {1}",
    ),
    mark(
        "captured", "CUDA graphs captured", r"Graph capturing finished in ([0-9.]+) secs?", "{0} s"
    ),
    mark(
        "initialised",
        "engine is ready",
        r"init engine \(profile, create kv cache, warmup model\) took ([0-9.]+) s",
        "{0} s",
    ),
    mark("server", "API server is starting", r"Starting vLLM (?:API )?server"),
)

#: SGLang 0.4 and newer.
_SGLANG = (
    mark("arguments-sglang", "SGLang has started", r"server_args=ServerArgs\("),
    mark("loading-sglang", "loading weights", r"Load weight begin\."),
    mark(
        "weights-sglang",
        "weights loaded",
        r"Load weight end\..*?avail mem=([0-9.]+) GB",
        "{0} GB left",
    ),
    mark("kv-cache-sglang", "KV cache made", r"KV Cache is allocated\."),
    mark("graphs-sglang", "capturing CUDA graphs", r"Capture cuda graph begin\."),
    mark(
        "captured-sglang",
        "CUDA graphs captured",
        r"(?i:Capture [a-z ]*cuda graph end\. )(?:Time elapsed: |elapsed=)([0-9.]+) s",
        "{0} s",
    ),
)

#: TensorRT-LLM 1.x, PyTorch backend.
_TRTLLM = (
    mark("arguments-trtllm", "TensorRT-LLM has started", r"\[TRT-LLM\] \[I\]"),
    mark(
        "kv-cache-trtllm",
        "KV cache measured",
        r"Estimated max memory in KV cache : ([0-9.]+ GiB)",
        "{0}",
    ),
    mark("tune-trtllm", "choosing kernels", r"Running autotuner warmup"),
    mark(
        "graphs-trtllm", "capturing CUDA graphs", r"CUDA graph warmup for batch size=(\d+)", "{0}"
    ),
)

_OLLAMA = (
    mark("server-ollama", "Ollama has started", r"Listening on \S+ \(version ([0-9.]+)", "{0}"),
    mark("fetch-ollama", "fetching the model", r"pulling [0-9a-f]{12}[^%]*?(\d+)%", "{0} %"),
    mark("made-ollama", "the model is there", r"spark-cluster: the model is there"),
)

#: What uvicorn says for vLLM and TensorRT-LLM; SGLang says its own after a first request to itself.
_READY = (
    mark(
        "ready",
        "API server is up",
        r"Application startup complete\.|The server is fired up and ready to roll!",
    ),
)

#: In the order of a start-up. A later line of the same mark replaces its detail.
MARKS = (*_VLLM, *_SGLANG, *_TRTLLM, *_OLLAMA, *_READY)
