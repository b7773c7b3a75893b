"""Which vLLM this container stands in for: its image says so."""

from __future__ import annotations

import os
from typing import TypeVar

Value = TypeVar("Value")

DEFAULT = "0.11.0"
WITHOUT_RAY = "0.20.0"
"""The image that the lab gives this release or a later one to has no Ray, as NVIDIA's 26.05."""
RECORDED = "0.23.0"
"""The release whose logs were recorded on GPUs, with Ray 2.55.1. Its Ray executor is another one
than that of 0.11: it watches its ranks, and it is what vLLM has had since."""


def version() -> str:
    """The release, for example 0.11.0."""
    return os.environ.get("SPARK_LAB_VLLM_VERSION") or DEFAULT


def at_least(wanted: str) -> bool:
    """Whether this container's release is `wanted` or a later one."""
    return _numbers(version()) >= _numbers(wanted)


def has_ray() -> bool:
    """Whether `ray` is there."""
    return version() == RECORDED or not at_least(WITHOUT_RAY)


def later(new: Value, old: Value) -> Value:
    """What 0.23 does, or what the releases before it do."""
    return new if at_least(RECORDED) else old


def engine_process() -> str:
    """What the engine core's lines begin with: 0.11 numbers it even where there is one only."""
    return "EngineCore" if at_least("0.20.0") else "EngineCore_DP0"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
