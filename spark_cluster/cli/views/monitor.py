"""The monitoring, for a person."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from spark_cluster.actions.monitor import MonitorReport, MonitorStatus, TargetStatus
from spark_cluster.cli.terminal import Console
from spark_cluster.core.units import count
from spark_cluster.monitoring import config

_NO_ENGINE = "no engine was found on any host: `monitor up --engine-port` for another port"


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


def _targets(targets: Sequence[TargetStatus], head: str) -> Iterator[str]:
    expected = [target for target in targets if target["health"] != "absent"]
    up = sum(target["health"] == "up" for target in expected)
    if targets:
        yield f"{head}{up} of {len(expected)} answer"
    for target in expected:
        if target["health"] != "up":
            words = (target["job"], target["host"], target["address"])
            who = " ".join(word for word in words if word)
            why = f": {target['error']}" if target["error"] else ""
            yield f"{' ' * len(head)}{target['health']}: {who}{why}"
    if _no_engine([target["health"] for target in targets if target["job"] == "vllm"]):
        yield f"{' ' * len(head)}{_NO_ENGINE}"


def _no_engine(healths: Collection[str]) -> bool:
    return bool(healths) and set(healths) == {"absent"}


def show(console: Console, report: MonitorReport) -> None:
    """A host a paragraph."""
    for row in report.hosts:
        for line in _lines(row):
            console.line(line)


def _lines(row: MonitorStatus) -> Iterator[str]:
    if row["state"] == "unknown":
        yield f"  unknown    {row['host']}: {row['reason']}"
        if "programs" not in row:
            return
    elif not row["programs"] and not row["others"]:
        kept = "; what was collected is kept" if row["data_kept"] else ""
        yield f"  {row['host']}: no monitoring runs{kept}"
    for program in row["programs"]:
        answers = "answers" if program["ready"] else "does not answer"
        yield f"  {row['host']}: {program['name']} ({program['by']}) {program['state']}, {answers}"
    for name in row["others"]:
        whose = "whose it is, docker would tell" if "reason" in row else "not started by us"
        yield f"  {row['host']}: {name} answers, {whose}"
    for address in (row.get("grafana"), row.get("prometheus")):
        if address and row["programs"]:
            yield f"             {address}"
    yield from _scraped_lines(row)


def _scraped_lines(row: MonitorStatus) -> Iterator[str]:
    targets = row.get("targets", ())
    expected = [target for target in targets if target["health"] != "absent"]
    up = sum(target["health"] == "up" for target in expected)
    if targets:
        yield f"             {up} of {count(len(expected), 'target')} answer"
    for target in expected:
        if target["health"] != "up":
            yield (
                f"             {target['health']}: {target['job']} {target['host']} "
                f"{target['address']} {target['error']}"
            )
    if _no_engine([target["health"] for target in targets if target["job"] == "vllm"]):
        yield f"             {_NO_ENGINE}"
    for alert in row["alerts"]:
        code = f" ({alert['code']})" if alert["code"] else ""
        yield f"             {alert['state']} {alert['name']}{code}: {alert['summary']}"
