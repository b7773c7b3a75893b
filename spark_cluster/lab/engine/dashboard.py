"""Answers in the shapes of Ray's dashboard and of `ray status` (recorded from Ray 2.60)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from .httpd import Request, Responder
from .release import later
from .wire import Json

VERSION = later("2.55.1", "2.51.1")
COMMIT = "0000000000000000000000000000000000000000"


def api_version(session: str) -> Json:
    """/api/version."""
    return {
        "version": "4",
        "ray_version": VERSION,
        "ray_commit": COMMIT,
        "session_name": session,
    }


def api_nodes(nodes: Sequence[Json]) -> Json:
    """/api/v0/nodes."""
    result = [
        {
            "node_id": node["node_id"],
            "node_ip": node["ip"],
            "is_head_node": node["head"],
            "state": node["state"],
            "state_message": node["state_message"],
            "node_name": node["name"],
            "resources_total": node["resources"] if node["state"] == "ALIVE" else {},
            "labels": {"ray.io/node-id": node["node_id"]},
        }
        for node in nodes
    ]
    count = len(result)
    return {
        "result": True,
        "msg": "",
        "data": {
            "result": {
                "total": count,
                "num_after_truncation": count,
                "num_filtered": count,
                "result": result,
                "partial_failure_warning": "",
                "warnings": None,
            }
        },
    }


def _camel(resources: Json) -> Json:
    names = {
        "object_store_memory": "objectStoreMemory",
        "node:__internal_head__": "node:InternalHead",
    }
    return {names.get(key, key): value for key, value in resources.items()}


def _summary(node: Json, gcs_pid: int) -> Json:
    stats = node.get("stats") or {}
    total, available = stats.get("mem_total", 0), stats.get("mem_available", 0)
    used = total - available
    load = stats.get("load", [0.0, 0.0, 0.0])
    cpus = int(node["resources"].get("CPU", 1)) or 1
    raylet: dict[str, Any] = {
        "objectStoreUsedMemory": 0,
        "objectStoreAvailableMemory": 0,
        "nodeId": node["node_id"],
        "nodeManagerAddress": node["ip"],
        "nodeManagerHostname": node["hostname"],
        "resourcesTotal": _camel(node["resources"]),
        "nodeName": node["name"],
        "startTimeMs": str(node["start_ms"]),
        "isHeadNode": node["head"],
        "labels": {"ray.io/node-id": node["node_id"]},
        "stateSnapshot": {"state": "ACTIVE", "idleDurationMs": "0", "nodeActivity": []},
        "state": node["state"],
        "instanceId": "",
        "nodeTypeName": "",
        "instanceTypeName": "",
        "endTimeMs": str(node["end_ms"]),
        "stateMessage": node["state_message"],
    }
    return {
        "now": stats.get("now", time.time()),
        "hostname": node["hostname"],
        "ip": node["ip"],
        "cpu": round(min(100.0, 100.0 * load[0] / cpus), 1),
        "cpus": [cpus, cpus],
        "mem": [total, available, round(100.0 * used / total, 1) if total else 0.0, used],
        "hostMem": [used, total],
        "cgroupMem": None,
        "shm": 0,
        "raylet": raylet,
        "agent": {"pid": node["pid"]},
        "bootTime": node["boot"],
        "loadAvg": [load, [round(value / cpus, 2) for value in load]],
        "gpus": [],
        "tpus": [],
        "cmdline": ["raylet"],
        "gcs": {"pid": gcs_pid} if node["head"] else None,
    }


def api_summary(nodes: Sequence[Json], gcs_pid: int) -> Json:
    """/nodes?view=summary."""
    return {
        "result": True,
        "msg": "Node summary fetched.",
        "data": {
            "summary": [_summary(node, gcs_pid) for node in nodes],
            "nodeLogicalResources": {},
        },
    }


def _size(value: float) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= factor:
            return f"{value / factor:.2f}{unit}"
    return f"{int(value)}B"


def status_text(nodes: Sequence[Json]) -> str:
    """What `ray status` prints."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    alive = [node for node in nodes if node["state"] == "ALIVE"]
    totals: dict[str, float] = {}
    for node in alive:
        for name, value in node["resources"].items():
            if not name.startswith("node:"):
                totals[name] = totals.get(name, 0.0) + value
    used = sum(node["gpus_used"] for node in alive)
    usage = []
    for name in sorted(totals):
        total = totals[name]
        if name in ("memory", "object_store_memory"):
            usage.append(f" 0B/{_size(total)} {name}")
        elif name == "GPU":
            group = f" ({used} used of {used} reserved in placement groups)" if used else ""
            usage.append(f" {used}/{total} GPU{group}")
        else:
            usage.append(f" 0.0/{total} {name}")
    line = "-" * 63
    lines = [
        f"======== Autoscaler status: {stamp}.{int(now * 1e6) % 10**6:06d} ========",
        "Node status",
        line,
        "Active:",
        *([f" 1 node_{node['node_id']}" for node in alive] or [" (no active nodes)"]),
        "Pending:",
        " (no pending nodes)",
        "Recent failures:",
        " (no failures)",
        "",
        "Resources",
        line,
        "Total Usage:",
        *usage,
        "",
        "From request_resources:",
        " (none)",
        "Pending Demands:",
        " (no resource demands)",
    ]
    return "\n".join(lines)


def routes(snapshot: Callable[[], Json]) -> Callable[[Request, Responder], None]:
    """The handler of the dashboard's port."""

    def handle(request: Request, answer: Responder) -> None:
        if request.method not in ("GET", "HEAD"):
            answer.send(405, b"405: Method Not Allowed")
            return
        now = snapshot()
        match request.path:
            case "/api/gcs_healthz" | "/api/local_raylet_healthz":
                answer.send(200, b"success")
            case "/api/version":
                answer.json(200, api_version(now["session"]))
            case "/api/v0/nodes":
                answer.json(200, api_nodes(now["nodes"]))
            case "/nodes" if request.query.get("view") == "summary":
                answer.json(200, api_summary(now["nodes"], os.getpid()))
            case "/api/cluster_status" if request.query.get("format") == "1":
                text = status_text(now["nodes"])
                answer.json(
                    200,
                    {
                        "result": True,
                        "msg": "Got formatted cluster status.",
                        "data": {"clusterStatus": text},
                    },
                )
            case "/":
                answer.send(200, b"Ray Dashboard (spark-lab)", "text/html")
            case _:
                answer.send(404, b"404: Not Found")

    return handle
