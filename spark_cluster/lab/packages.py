"""What is installed in the nodes and in the engine's container image: packages.yaml."""

from __future__ import annotations

from spark_cluster.core.data_files import parse_yaml, read_text

_TABLE = parse_yaml(read_text(__package__, "packages.yaml"))

ENGINE_PACKAGES: tuple[str, ...] = tuple(_TABLE["engine"])
DISABLED_UNITS: tuple[str, ...] = tuple(_TABLE["disabled_units"])
MASKED_UNITS: tuple[str, ...] = tuple(_TABLE["masked_units"])


def node_packages(distro: str) -> tuple[str, ...]:
    return tuple(sorted((*_TABLE["nodes"], *_TABLE["kernel"][distro])))
