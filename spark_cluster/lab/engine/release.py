"""Which vLLM this container stands in for: its image says so."""

from __future__ import annotations

import os

DEFAULT = "0.11.0"
WITHOUT_RAY = "0.20.0"
"""The image that the lab gives this release or a later one to has no Ray, as NVIDIA's 26.05."""


def version() -> str:
    """The release, for example 0.11.0."""
    return os.environ.get("SPARK_LAB_VLLM_VERSION") or DEFAULT


def at_least(wanted: str) -> bool:
    """Whether this container's release is `wanted` or a later one."""
    return _numbers(version()) >= _numbers(wanted)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
