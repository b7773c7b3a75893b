"""Hosts of which nothing is known: why, and what to do next, said once for those that share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def after(remedies: Mapping[str, str]) -> dict[str, str]:
    """`remedies` by host, in the order in which the hosts are told: the remedy to tell after a
    host, which is the last that shares it."""
    last = {remedy: host for host, remedy in remedies.items() if remedy}
    return {host: remedy for remedy, host in last.items()}


def unknown(reasons: Mapping[str, str], remedies: Mapping[str, str]) -> Iterator[str]:
    """A line a host, and what to do next about it; both by host."""
    nexts = after(remedies)
    for host, why in reasons.items():
        yield f"unknown: {host}: {why}"
        if host in nexts:
            yield f"  next: {nexts[host]}"


def not_reached(host: str, what: str, command: str, more: str = "") -> str:
    """The line for a host on which `what` goes on, and the command that ends it."""
    return (
        f"unknown: {host} was not reached; {what}. "
        f"Run `spark-cluster {command}` when it answers{more}."
    )
