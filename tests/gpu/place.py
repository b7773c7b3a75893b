"""The folder that the program runs in: inventory, playbook and recipes, in the user's own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from spark_cluster import places
from spark_cluster.inventory import loader as inventories
from spark_cluster.inventory.models import Inventory

from . import image, settings, tiny_vl

PORT = 8000

#: What two hosts of namespaces on one machine do not have, or would change of it: RDMA devices,
#: weights, swap, the page cache.
_LEFT_OUT = (
    "rdma-devices", "model-files", "fit", "node-ssh", "launch-snapshot", "swap", "page-cache",
)  # fmt: skip


#: Gone with 0.32, which says it itself.
_PP_OVERRIDES = '{"text_config": {"architectures": ["Qwen3MoeForCausalLM"]}}'
_PP_WHY = "vLLM 0.23 asks the text model for its class when it divides the layers"


def _because(value: Any, why: str) -> dict[str, Any]:
    return {"value": value, "why": why}


def _recipes() -> dict[str, dict[str, Any]]:
    """By name. `tiny` is qwen3-vl-235b as it is, with a model of its family; without RDMA, NCCL may
    use sockets."""
    mp = {"distributed-executor-backend": _because("mp", "a rank per container, without Ray")}
    ib = {"NCCL_NET": _because("IB", "as the program sets it: sockets are forbidden")}
    ray_only = {"RAY_memory_monitor_refresh_ms": None, "RAY_DEDUP_LOGS": None}
    forced = _because(34_000, "as many as the real model's; a tiny one's would be millions")
    given = _because("1G", "what vLLM measures changes while others come and go on the GPU")
    tiny = {
        "extends": "qwen3-vl-235b",
        "image": f"spark-cluster/vllm:{image.VLLM}",
        "engine_version": image.VLLM,
        "model": tiny_vl.NAME,
        "model_cache": str(settings.work() / "huggingface"),
        "args": {
            "quantization": _because(None, "the weights are made up"),
            "load-format": _because("dummy", "the model has no weights"),
            "attention-backend": _because("TRITON_ATTN", "an argument since vLLM 0.13"),
            "num-gpu-blocks-override": forced,
            "gpu-memory-utilization": _because(str(settings.share()), "ranks share a GPU"),
            **({"kv-cache-memory-bytes": given} if settings.is_crowded() else {}),
        },
        "env": {
            "VLLM_ATTENTION_BACKEND": None,
            "VLLM_SLEEP_WHEN_IDLE": None,
            "NCCL_NET": _because(None, "there is no RDMA device; NCCL may fall back to sockets"),
        },
        "requires": {"memory_gib": 0.5 if settings.is_standin() else 4, "disk_gib": 0.1},
        "shape": {"layers": tiny_vl.LAYERS, "hidden_size": tiny_vl.HIDDEN, "bytes_per_element": 2},
        "options": {"pp": {"args": {"hf-overrides": _because(_PP_OVERRIDES, _PP_WHY)}}},
        "ready_minutes": 5,
        "first_token_minutes": 1,
        "measured": [],
    }
    tiny_mp = {
        "extends": "tiny", "engine": "vllm-mp", "args": mp, "env": ray_only,
        "options": {"debug": {"env": {"RAY_DEDUP_LOGS": None}}},
    }  # fmt: skip

    def fails(base: str, **args: Any) -> dict[str, Any]:
        """A start that must fail, by its arguments."""
        return {
            "extends": base,
            "args": {name.replace("_", "-"): _because(v, "it fails") for name, v in args.items()},
        }

    return {
        "tiny": tiny,
        "tiny-mp": tiny_mp,
        "tiny-awq": {
            "extends": "tiny", "model": tiny_vl.AWQ,
            "args": {"quantization": _because("awq", "as the recipe says")},
        },
        "tiny-ib": {"extends": "tiny", "env": ib},
        "tiny-mp-ib": {"extends": "tiny-mp", "env": ib},
        "fail-arg": fails("tiny-mp", no_such_flag=3),
        "fail-kv": fails("tiny-mp", num_gpu_blocks_override=100),
        "fail-util": fails(
            "tiny-mp", gpu_memory_utilization="0.004", num_gpu_blocks_override=None,
            kv_cache_memory_bytes=None,
        ),
        "fail-cache": {"extends": "tiny-mp", "model": "spark-cluster/not-there"},
        "fail-mem": fails("tiny-mp", gpu_memory_utilization="0.90"),
        "fail-mem-ray": fails("tiny", gpu_memory_utilization="0.90"),
    }  # fmt: skip


def _playbook() -> dict[str, Any]:
    """The shipped launch without what is left out, and without a change of this machine's swap."""
    shipped = places.shipped("playbooks") / "launch.yaml"
    book: dict[str, Any] = yaml.safe_load(shipped.read_text())
    book["steps"] = [step for step in book["steps"] if step["step"] not in _LEFT_OUT]
    for step in book["steps"]:
        if step["step"] == "restart-at-boot":
            step["with"] = {**step.get("with", {}), "swap": "keep"}
        if step["step"] == "rdma-verdict":
            step["with"] = {"tokens": 64}
    return book


def write(folder: Path) -> Inventory:
    """Write it all, the models beside it; gives the inventory."""
    inventory = places.shipped("inventory") / inventories.FILE
    given = yaml.safe_load(inventory.read_text())
    given["hosts"] = {name: given["hosts"][name] for name in given["groups"]["pair"]}
    files: dict[str, Any] = {
        f"inventory/{inventories.FILE}": given,
        "playbooks/launch.yaml": _playbook(),
    }
    for name, recipe in _recipes().items():
        title = f"{name}, between two hosts of namespaces"
        files[f"playbooks/recipes/{name}.yaml"] = {"name": name, "title": title, **recipe}
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(yaml.safe_dump(content, sort_keys=False))
    tiny_vl.write(settings.work() / "huggingface")
    return inventories.load(folder / "inventory" / inventories.FILE)
