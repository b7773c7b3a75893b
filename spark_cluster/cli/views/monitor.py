"""The monitoring, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spark_cluster.actions.monitor import MonitorReport, MonitorStatus
from spark_cluster.core.units import count
from spark_cluster.facts.monitor import SeenTarget
from spark_cluster.monitoring import config

_NO_ENGINE = "no engine was found on any host: `monitor up --engine-port` for another port"

#: Where the second line of a host begins.
_BELOW = " " * 13


def started(data: Mapping[str, Any]) -> Iterator[str]:
    """The end of `monitor up`."""
    if "grafana" in data:
        yield f"Grafana     {data['grafana']}"
        yield f"            user admin, password: {data['password_command']}"
    else:
        yield f"Dashboard   {config.DASHBOARD} on {data['host']}: import it into a Grafana of yours"
    if "prometheus" in data:
        yield f"Prometheus  {data['prometheus']}"
    if "targets" in data:
        yield from _targets(data["targets"], "Targets     ")
    yield "next: spark-cluster monitor status"


def _targets(targets: Sequence[SeenTarget], head: str, noun: str = "") -> Iterator[str]:
    below = " " * len(head)
    expected = [target for target in targets if target.health != "absent"]
    up = sum(target.health == "up" for target in expected)
    if targets:
        of = count(len(expected), noun) if noun else len(expected)
        yield f"{head}{up} of {of} answer"
    for target in expected:
        if target.health != "up":
            words = (target.job, target.host, target.address)
            who = " ".join(word for word in words if word)
            why = f": {target.error}" if target.error else ""
            yield f"{below}{target.health}: {who}{why}"
    engines = {target.health for target in targets if target.job == "vllm"}
    if engines == {"absent"}:
        yield f"{below}{_NO_ENGINE}"


def lines(report: MonitorReport) -> Iterator[str]:
    """A host a paragraph."""
    for row in report.hosts:
        yield from _lines(row)


def _lines(row: MonitorStatus) -> Iterator[str]:
    if row["state"] == "unknown":
        yield f"  unknown    {row['host']}: {row['reason']}"
        if "programs" not in row:
            return
    elif not row["programs"] and not row["others"]:
        kept = "; what was collected is kept" if row["data_kept"] else ""
        yield f"  {row['host']}: no monitoring runs{kept}"
    for program in row["programs"]:
        answers = "answers" if program.ready else "does not answer"
        yield f"  {row['host']}: {program.name} ({program.by}) {program.state}, {answers}"
    for name in row["others"]:
        whose = "whose it is, docker would tell" if "reason" in row else "not started by us"
        yield f"  {row['host']}: {name} answers, {whose}"
    for address in (row.get("grafana"), row.get("prometheus")):
        if address and row["programs"]:
            yield f"{_BELOW}{address}"
    yield from _targets(row.get("targets", ()), _BELOW, "target")
    for alert in row["alerts"]:
        code = f" ({alert.code})" if alert.code else ""
        yield f"{_BELOW}{alert.state} {alert.name}{code}: {alert.summary}"
