"""Whether Ray has all hosts and their GPUs: the script that asks, and what is still missing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spark_cluster.core.framing import MARK, READ
from spark_cluster.core.shell import quote
from spark_cluster.core.words import sentence

_FROM_API = f"{READ}ray nodes"
_FROM_STATUS = f"{READ}ray status"

#: Seconds that the dashboard, and `ray status`, may take. `ray status` starts a Python.
API_TIMEOUT = 5
STATUS_TIMEOUT = 30


@dataclass(frozen=True)
class RayNode:
    """A node as Ray lists it. `gpus`: how many it declares, used or not."""

    ip: str
    alive: bool
    is_head: bool
    gpus: float


@dataclass(frozen=True)
class RayStatus:
    """`nodes` is None where only `ray status` answered, which names no addresses.

    `active`: nodes alive; `gpus_total`: GPUs of these; both None if Ray did not answer, and `error`
    then says why.
    """

    nodes: tuple[RayNode, ...] | None = None
    active: int | None = None
    gpus_total: float | None = None
    error: str = ""


def nodes_script(
    dashboard_port: int, container: str | None = None, *, address: str = "127.0.0.1"
) -> str:
    """Shell that asks the dashboard for the nodes; failing that, `ray status` in `container`."""
    url = quote(f"http://{address}:{dashboard_port}/api/v0/nodes?limit=100")
    script = (
        f"if _ray=$(curl -sf --noproxy '*' -m {API_TIMEOUT} {url} </dev/null); then\n"
        f'  echo "{MARK}ray nodes"\n'
        f'  printf "%s\\n" "$_ray"\n'
    )
    if container is not None:
        script += (
            "else\n"
            f'  echo "{MARK}ray status"\n'
            f"  timeout -k 5 {STATUS_TIMEOUT} docker exec {quote(container)} ray status "
            "</dev/null 2>&1 || :\n"
        )
    return script + "fi\n"


def _gpus(resources: object) -> float:
    value = resources.get("GPU") if isinstance(resources, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    return 0.0


def _node(entry: dict[str, Any]) -> RayNode | None:
    ip = entry.get("node_ip")
    if not isinstance(ip, str):
        return None
    return RayNode(
        ip=ip,
        alive=entry.get("state") == "ALIVE",
        is_head=entry.get("is_head_node") is True,
        gpus=_gpus(entry.get("resources_total")),
    )


def _descend(found: object, *keys: str) -> object:
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def parse_nodes(text: str) -> RayStatus:
    """The dashboard's `/api/v0/nodes`."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return RayStatus(error="the dashboard's answer is no JSON")
    listed = _descend(answer, "data", "result", "result")
    if not isinstance(listed, list):
        message = _descend(answer, "msg")
        return RayStatus(error=f"the dashboard lists no nodes: {message or 'no reason given'}")
    nodes = [_node(entry) for entry in listed if isinstance(entry, dict)]
    known = tuple(node for node in nodes if node is not None)
    alive = [node for node in known if node.alive]
    return RayStatus(known, len(alive), sum(node.gpus for node in alive))


_SECTION = re.compile(r"^\s*([A-Z][A-Za-z ]*):\s*$")
_NODE_LINE = re.compile(r"^\s+(\d{1,5}) \S+", re.ASCII)
_GPU_LINE = re.compile(r"^\s*[0-9.]+/([0-9]{1,9}(?:\.[0-9]{1,9})?) GPU\b", re.ASCII | re.MULTILINE)


def parse_status(text: str) -> RayStatus:
    """`ray status`. Nodes under `Active` and `Idle` are alive; it gives no addresses."""
    if "Node status" not in text:
        last = text.strip().rpartition("\n")[2][:200]
        return RayStatus(error=f"ray status failed: {last or 'it printed nothing'}")
    active = 0
    section = ""
    for line in text.split("\n"):
        heading = _SECTION.match(line)
        node = _NODE_LINE.match(line)
        if heading:
            section = heading[1]
        elif node and section in ("Active", "Idle"):
            active += int(node[1])
    gpus = _GPU_LINE.search(text)
    return RayStatus(None, active, float(gpus[1]) if gpus else 0.0)


def parse(text: str) -> RayStatus:
    """What `nodes_script` printed."""
    head, found, body = f"\n{text}".partition(f"\n{_FROM_API}\n")
    if found:
        return parse_nodes(body)
    head, found, body = f"\n{text}".partition(f"\n{_FROM_STATUS}\n")
    if found:
        return parse_status(body)
    return RayStatus(error=head.strip()[:200] or "Ray does not answer")


def _missing_node(nodes: Sequence[RayNode], ip: str) -> str | None:
    """Ray keeps dead nodes in its list: a host that came back stands there twice."""
    own = [node for node in nodes if node.ip == ip]
    alive = [node for node in own if node.alive]
    if not own:
        return f"{ip} has not joined Ray."
    if not alive:
        return f"{ip} had joined Ray and is dead."
    if not any(node.gpus for node in alive):
        return f"{ip} has joined Ray without a GPU."
    return None


def joined(status: RayStatus, expected_ips: Sequence[str], gpus: float) -> list[str]:
    """What is still missing until all of `expected_ips` serve with `gpus` GPUs in all.

    Empty: all have joined. GPUs of other nodes do not count.
    """
    if status.active is None or status.gpus_total is None:
        why = f": {status.error}" if status.error else ""
        return [sentence(f"Ray does not answer{why}")]
    if status.nodes is None:
        missing = []
        if status.active < len(expected_ips):
            missing.append(f"{status.active} of {len(expected_ips)} nodes have joined Ray.")
        total = status.gpus_total
    else:
        found = (_missing_node(status.nodes, ip) for ip in expected_ips)
        missing = [sentence for sentence in found if sentence]
        ours = set(expected_ips)
        total = sum(node.gpus for node in status.nodes if node.alive and node.ip in ours)
    if total < gpus:
        missing.append(f"Ray has {total:g} of {gpus:g} GPUs.")
    return missing


def strangers(status: RayStatus, expected_ips: Sequence[str]) -> list[str]:
    """Live nodes that do not belong to the group: another job's, or a wrong address."""
    ours = set(expected_ips)
    return [node.ip for node in status.nodes or () if node.alive and node.ip not in ours]
