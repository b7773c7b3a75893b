"""What to do next about hosts of which nothing is known, said once for those that share it."""

from __future__ import annotations

from collections.abc import Mapping

DOCKER = "`spark-cluster doctor` looks at docker."


def after(remedies: Mapping[str, str]) -> dict[str, str]:
    """`remedies` by host, in the order in which the hosts are told: the remedy to tell after a
    host, which is the last that shares it."""
    last = {remedy: host for host, remedy in remedies.items() if remedy}
    return {host: remedy for remedy, host in last.items()}
