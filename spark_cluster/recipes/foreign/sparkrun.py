"""Recipes of sparkrun (format 2, and 1 with its fields): model, runtime, container, defaults, and
maybe a command.

Fields as its RECIPES.md and core/recipe.py have them. Without a command sparkrun makes one of
those defaults that it knows; so do we.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spark_cluster.recipes.foreign import command, template
from spark_cluster.recipes.foreign.environment import environment
from spark_cluster.recipes.foreign.eugr import refuse_mods, remark_build
from spark_cluster.recipes.foreign.theirs import Theirs

#: Not sparkrun's, and read by nobody: people write them all the same.
_INFORMATION = ("maintainer", "author", "notes", "tags", "license", "url", "version")

_FIELDS = frozenset({"sparkrun_version", "recipe_version", "name", "description", "model",
                     "model_revision", "runtime", "runtime_version", "mode", "min_nodes",
                     "max_nodes", "container", "defaults", "env", "command", "runtime_config",
                     "cluster_only", "solo_only", "benchmark", "metadata", "pre_exec", "post_exec",
                     "post_commands", "mods", "stop_after_post", "builder", "builder_config",
                     "executor_config", "distribution_config", "build_args",
                     *_INFORMATION})  # fmt: skip

_RUNTIMES = {
    "vllm": "vllm",
    "vllm-distributed": "vllm",
    "vllm-ray": "vllm",
    "eugr-vllm": "vllm",
    "sglang": "sglang",
    "trtllm": "trtllm",
}

_PROGRAMS = {
    "vllm": ("vllm", "serve"),
    "sglang": ("python3", "-m", "sglang.launch_server"),
    "trtllm": ("trtllm-serve",),
}

#: The defaults that become arguments when there is no command, for each family of engines.
_FLAGS = {
    "vllm": {
        "port": "port", "host": "host", "tensor_parallel": "tensor-parallel-size",
        "pipeline_parallel": "pipeline-parallel-size", "data_parallel": "data-parallel-size",
        "gpu_memory_utilization": "gpu-memory-utilization", "max_model_len": "max-model-len",
        "max_num_batched_tokens": "max-num-batched-tokens", "max_num_seqs": "max-num-seqs",
        "served_model_name": "served-model-name", "dtype": "dtype",
        "quantization": "quantization", "enforce_eager": "enforce-eager",
        "enable_prefix_caching": "enable-prefix-caching",
        "trust_remote_code": "trust-remote-code", "kv_cache_dtype": "kv-cache-dtype",
        "distributed_executor_backend": "distributed-executor-backend", "api_key": "api-key",
        "otlp_traces_endpoint": "otlp-traces-endpoint",
    },
    "sglang": {
        "port": "port", "host": "host", "tensor_parallel": "tp-size",
        "pipeline_parallel": "pp-size", "gpu_memory_utilization": "mem-fraction-static",
        "max_model_len": "context-length", "max_num_seqs": "max-running-requests",
        "served_model_name": "served-model-name", "dtype": "dtype",
        "quantization": "quantization", "trust_remote_code": "trust-remote-code",
        "chunked_prefill": "chunked-prefill-size", "kv_cache_dtype": "kv-cache-dtype",
        "tokenizer_path": "tokenizer-path", "api_key": "api-key",
    },
    "trtllm": {
        "port": "port", "host": "host", "tensor_parallel": "tp_size",
        "pipeline_parallel": "pp_size", "max_model_len": "max_seq_len",
        "trust_remote_code": "trust_remote_code",
    },
}  # fmt: skip

_SIZE = re.compile(r"([0-9.]+)\s*([kmg])(?:i?b)?", re.IGNORECASE)

#: What an `executor_config` may say without changing anything: our containers are like that.
_AS_OURS: dict[str, tuple[Any, ...]] = {
    "gpus": ("all",),
    "ipc": ("host",),
    "network": ("host",),
    "user": ("root",),
    "restart_policy": (None, "no"),
    "entrypoint": (None,),
}


def convert(theirs: Theirs) -> dict[str, Any]:
    """The fields of a recipe of ours. Raises InputError."""
    theirs.only(_FIELDS)
    _refuse_hooks(theirs)
    refuse_mods(theirs)
    container = theirs.text("container")
    if theirs.data.get("build_args") or theirs.text("builder", "docker-pull") != "docker-pull":
        remark_build(theirs, container)
    model = theirs.text("model")
    if ":" in model:
        raise theirs.refuse(
            ("model",), f"{model}: no engine of ours serves GGUF files", "Name another release."
        )
    values = {**theirs.defaults(), "model": model}
    runtime = _runtime(theirs)
    set_before, words = _words(theirs, runtime, values)
    served = values.get("served_model_name")
    if served and "--served-model-name" not in words and runtime in ("vllm", "sglang"):
        words += ["--served-model-name", *str(served).split()]
    revision = theirs.text("model_revision", "")
    if revision and "--revision" not in words:
        words += ["--revision", revision]
    server = command.read(theirs, words, model)
    least, most = _hosts(theirs)
    ray = theirs.text("runtime", "") in ("vllm-ray", "eugr-vllm")
    fields = command.fields(theirs, server, ray=ray, least=least, most=most)
    return {
        **fields,
        **environment(theirs, fields["engine"], set_before),
        **_executor(theirs),
        "name": theirs.name(),
        "title": theirs.title(),
        "image": container,
        "engine_version": command.release(
            container, theirs.text("runtime_version", ""), is_vllm=server.is_vllm
        ),
    }


def version(data: Mapping[str, Any]) -> str:
    """The format's number as sparkrun reads it: its own unless the file says otherwise."""
    return str(data.get("sparkrun_version", data.get("recipe_version", "2")))


def _runtime(theirs: Theirs) -> str:
    """The family of engines; empty if only the command tells."""
    given = theirs.text("runtime", "")
    if given and given not in _RUNTIMES:
        raise theirs.refuse(
            ("runtime",),
            f"spark-cluster has no engine for {given}",
            f"It reads {', '.join(_RUNTIMES)}.",
        )
    return _RUNTIMES.get(given, "" if theirs.data.get("command") else "vllm")


def _words(
    theirs: Theirs, runtime: str, values: dict[str, Any]
) -> tuple[dict[str, str], list[str]]:
    if not theirs.data.get("command"):
        return {}, _made(theirs, runtime, values)
    fill = template.fill_either if version(theirs.data) == "1" else template.fill_braces
    try:
        return template.words(fill(theirs.text("command"), values))
    except template.BadTemplate as bad:
        raise theirs.refuse_template(("command",), bad) from bad


def _made(theirs: Theirs, runtime: str, values: dict[str, Any]) -> list[str]:
    """The command that sparkrun makes when the recipe has none."""
    flags = _FLAGS[runtime]
    words = list(_PROGRAMS[runtime])
    words += ["--model-path", values["model"]] if runtime == "sglang" else [values["model"]]
    for key, value in theirs.defaults().items():
        if key not in flags:
            raise theirs.refuse(
                ("defaults", key),
                "without a `command:` sparkrun gives this to no engine",
                f"Remove it, or write a `command:` that has {{{key}}}.",
            )
        if value is None or value is False:
            continue
        try:
            template.refuse_leftovers(str(value))
        except template.BadTemplate as bad:
            raise theirs.refuse(("defaults", key), str(bad), bad.remedy) from bad
        words += [f"--{flags[key]}"]
        if value is not True:
            # Names hold no blanks: what has some is several.
            names = str(value).split() if key == "served_model_name" else []
            words += names or [str(value)]
    return words


def _hosts(theirs: Theirs) -> tuple[int, int]:
    """The fewest and the most hosts that the recipe allows."""
    mode = theirs.text("mode", "auto")
    if mode not in ("auto", "solo", "cluster"):
        raise theirs.refuse(("mode",), f"{mode!r} is no mode", "auto, solo or cluster.")
    least, most = theirs.count("min_nodes") or 1, theirs.count("max_nodes") or 8
    if theirs.flag("cluster_only") or mode == "cluster":
        least = max(least, 2)
    if theirs.flag("solo_only") or mode == "solo":
        most = 1
    return least, most


def _refuse_hooks(theirs: Theirs) -> None:
    inside = "Make an image in which it has been done, and name it in `container:`."
    theirs.absent("pre_exec", "spark-cluster changes nothing inside a container", inside)
    after = "Remove it, and run it yourself when launch says that the model is ready."
    theirs.absent("post_exec", "spark-cluster runs nothing after the start", after)
    theirs.absent("post_commands", "spark-cluster runs nothing after the start", after)
    theirs.absent("stop_after_post", "a launch of ours goes on serving", "Remove it.")
    theirs.absent("runtime_config", "it is for sparkrun's own runtimes", "Remove it.")
    others = _distributed(theirs)
    if others:
        theirs.remark(f"Also needed in every host's cache: {', '.join(others)}.")


def _distributed(theirs: Theirs) -> list[str]:
    """The models that sparkrun copies to the hosts beside the recipe's own."""
    at = ("distribution_config", "models")
    models = theirs.mapping(at[0]).get(at[1]) or {}
    if not isinstance(models, dict):
        raise theirs.refuse(at, "must hold fields", f"The value there is {models!r}.")
    entries = models.get("entries") or []
    if not isinstance(entries, list):
        raise theirs.refuse((*at, "entries"), "must be a list", f"The value there is {entries!r}.")
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [str(name) for name in names if name not in ("{model}", theirs.data.get("model"))]


def _executor(theirs: Theirs) -> dict[str, Any]:
    config = theirs.mapping("executor_config")
    for key, value in config.items():
        loc = ("executor_config", key)
        if key in ("privileged", "auto_remove"):
            if value:
                theirs.remark(f"{key} is not used: {_INSTEAD[key]}.")
        elif key in _AS_OURS:
            if value not in _AS_OURS[key]:
                raise theirs.refuse(
                    loc, f"{value!r} cannot be honoured", f"Remove it; {_CONTAINERS}."
                )
        elif key != "shm_size":
            raise theirs.refuse(loc, "is not known", f"Remove it; {_CONTAINERS}.")
    if "shm_size" not in config:
        return {}
    match = _SIZE.fullmatch(str(config["shm_size"]))
    if match is None:
        loc = ("executor_config", "shm_size")
        raise theirs.refuse(loc, f"{config['shm_size']!r} is no size", "Write it as 16gb.")
    return {"shm_size": f"{match[1]}{match[2].lower()}"}


_INSTEAD = {
    "privileged": "the RDMA devices and IPC_LOCK are given one by one",
    "auto_remove": "a container that ended is kept for its log until teardown",
}
_CONTAINERS = (
    "our containers have all GPUs, the host's network and IPC, the image's own entrypoint, and "
    "are not started again by docker"
)
