"""Serve large models on two to eight NVIDIA DGX Sparks over RDMA.

`Cluster` and what goes with it (spark_cluster/api.py) are the public API, imported when first asked
for: a command that needs none of it starts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spark_cluster.core.version import __version__

if TYPE_CHECKING:
    from spark_cluster.api import Choices, Cluster, Outcome, SparkError, events

__all__ = ["Choices", "Cluster", "Outcome", "SparkError", "__version__", "events"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from spark_cluster import api

    return getattr(api, name)
