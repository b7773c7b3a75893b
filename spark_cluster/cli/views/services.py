"""Observability services, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spark_cluster.actions.services import ServiceReport, ServiceStatus
from spark_cluster.cli.views.unknown import not_reached


def started(data: Mapping[str, Any]) -> Iterator[str]:
    """The end of `services NAME up`."""
    where = f" (on {data['host']} only)" if data["local"] else ""
    yield f"{data['service']} answers: {data['url']}{where}"
    for line in data["login"]:
        yield f"  {line}"
    for line in data["limits"]:
        yield f"  note: {line}"


def stopped(data: Mapping[str, Any]) -> Iterator[str]:
    """The end of `services NAME down`."""
    for host, lines in data["left_alone"].items():
        for line in lines:
            yield f"{host}: {line}"
    name = data["service"]
    for host in data["unknown"]:
        yield not_reached(
            host, f"{name} may still run there", f"services {name} down --host {host}"
        )


def lines(report: ServiceReport) -> Iterator[str]:
    """A line a host."""
    for row in report.hosts:
        yield f"  {_line(row)}"


def _line(row: ServiceStatus) -> str:
    match row["state"]:
        case "unknown":
            return f"unknown    {row['host']}: {row['reason']}"
        case "absent":
            return f"{row['host']}: not there"
        case "foreign":
            return f"{row['host']}: there is one that spark-cluster did not make"
        case "down":
            kept = ", its data is kept" if row["data_kept"] else ""
            return f"{row['host']}: stopped{kept}"
    parts = ", ".join(f"{name} {state}" for name, state in row["containers"].items())
    what = parts or f"unit {row['unit']}"
    answer = f"HTTP {row['answer']}" if row["answer"] else "no answer"
    return f"{row['host']}: {what}; {answer} on port {row['port']}"
