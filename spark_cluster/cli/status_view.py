"""Reading and printing for `status`."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from spark_cluster.cli.running import looking
from spark_cluster.core.error import SparkError
from spark_cluster.core.units import human_age, human_bytes
from spark_cluster.facts.base import Facts
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.gpu import GPU
from spark_cluster.facts.host import HOST
from spark_cluster.facts.memory import MEMORY, SWAP
from spark_cluster.inventory.models import Inventory
from spark_cluster.places import short
from spark_cluster.runner.last_verdict import last_verdict
from spark_cluster.runner.session import Lane
from spark_cluster.serving import api
from spark_cluster.serving.apis import APIS

_FACTS = (HOST, CONTAINERS, MEMORY, SWAP, GPU)


def read(inventory: Inventory, names: list[str]) -> list[dict[str, Any]]:
    """One row a host; `state` is `up` or `unknown`, with the reason."""
    with looking(inventory, names) as session:
        outcomes = session.each(session.alive, _look)
        return [_row(name, session.lost.get(name) or outcomes[name]) for name in names]


def _look(lane: Lane) -> tuple[Facts, bool | None]:
    """The facts, and on the head whether the server answers /health (None: no head here)."""
    facts = lane.read(_FACTS)
    for container in facts[CONTAINERS].containers:
        if (
            container.running
            and container.label("port").isdigit()
            and container.label("rank") == "0"
        ):
            script = APIS[container.label("api") or "openai"].health(int(container.label("port")))
            answer = lane.run(script, timeout=15, root=False)
            return facts, api.parse_health(answer.stdout).ok
    return facts, None


def _row(name: str, outcome: tuple[Facts, bool | None] | SparkError) -> dict[str, Any]:
    if isinstance(outcome, SparkError):
        return {"host": name, "state": "unknown", "reason": outcome.message}
    facts, healthy = outcome
    return {
        "host": name,
        "state": "up",
        "boot_id": facts[HOST].boot_id,
        "memory_available": facts[MEMORY].available,
        "memory_total": facts[MEMORY].total,
        "swap": list(facts[SWAP].active),
        "gpu": list(facts[GPU].names),
        "gpu_processes": [process.name for process in facts[GPU].processes],
        "containers": [
            {
                "name": container.name,
                "state": container.state,
                "exit_code": container.exit_code,
                "recipe": container.label("recipe"),
                "rank": container.label("rank"),
                "run": container.label("run"),
                "started": container.started,
                "port": container.label("port"),
            }
            for container in facts[CONTAINERS].containers
        ],
        "docker_error": facts[CONTAINERS].error,
        "healthy": healthy,
    }


def verdict_row(inventory: Inventory, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The last RDMA verdict that this controller gave; `current`: on the launch that runs now."""
    last = last_verdict(inventory.path)
    if last is None:
        return None
    runs = {c["run"] for row in rows for c in row.get("containers", ()) if c["state"] == "running"}
    return {
        "kind": last.kind,
        "code": last.code,
        "reason": last.reason,
        "when": last.when.isoformat(),
        "age_seconds": round(last.age()),
        "by": last.verb,
        "recipe": last.recipe,
        "run": last.run,
        "current": last.run in runs,
    }


def show(
    console: Console,
    inventory: Inventory,
    rows: list[dict[str, Any]],
    verdict: dict[str, Any] | None,
    *,
    verbose: bool,
) -> None:
    console.print(f"[dim]inventory {escape(short(inventory.path))}[/]")
    for row in rows:
        if row["state"] == "unknown":
            console.print(f"  [bold magenta]unknown[/]  {row['host']}: {escape(row['reason'])}")
            continue
        swap = f"swap on ({', '.join(row['swap'])})" if row["swap"] else "swap off"
        available, total = row["memory_available"], row["memory_total"]
        memory = f"{human_bytes(available)} of {human_bytes(total)} available"
        console.print(f"  [green]up[/]       {row['host']}: {memory}, {swap}")
        if row["docker_error"]:
            console.print(f"             docker: {escape(row['docker_error'])}")
        for container in row["containers"]:
            console.print(f"             {escape(_container(container, row['healthy']))}")
        if verbose:
            processes = ", ".join(row["gpu_processes"]) or "none"
            console.print(f"             GPU {', '.join(row['gpu'])}; processes: {processes}")
    if verdict is not None:
        console.print(f"  {escape(_verdict(verdict))}")


def _verdict(verdict: dict[str, Any]) -> str:
    """`RDMA verdict: rdma, 12 min ago, on qwen3-vl-235b`."""
    age = human_age(verdict["age_seconds"])
    text = f"RDMA verdict: {verdict['kind']}, {age} ago, on {verdict['recipe']}"
    if not verdict["current"]:
        text += f" of an earlier launch ({verdict['run']}), not on what runs now"
    elif verdict["kind"] != "rdma":
        text += f": {verdict['reason']}"
    return text


def _container(container: dict[str, Any], healthy: bool | None) -> str:
    text = (
        f"{container['name']} ({container['recipe']}, rank {container['rank']}) "
        f"{container['state']}"
    )
    if container["state"] != "running":
        return f"{text}, exit code {container['exit_code']}"
    text += f" since {container['started'][:19]}"
    if container["rank"] == "0":
        health = "answers" if healthy else "does not answer yet"
        text += f"; /health {health} on port {container['port']}"
    return text
