"""The head's register of nodes and jobs: the part of Ray's GCS that `vllm serve` needs."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any

from .logs import out, ray_core_line
from .wire import Json, Wire, listen, serve_each

# Ray: health_check_period_ms 3000 times health_check_failure_threshold 5.
DEAD_AFTER = 15.0
GPU = "GPU"


class Node:
    """A node as the head knows it."""

    def __init__(self, info: Json, wire: Wire) -> None:
        self.info = info
        self.wire = wire
        self.state = "ALIVE"
        self.message: str | None = None
        self.last_beat = time.monotonic()
        self.end_ms = 0

    @property
    def id(self) -> str:
        """The 28-byte hexadecimal id."""
        return str(self.info["node_id"])

    def resource(self, name: str) -> float:
        """The node's total of one resource."""
        return float(self.info["resources"].get(name, 0.0))


class Job:
    """A driver (`vllm serve`) and the GPUs that were reserved for it."""

    def __init__(self, wire: Wire, placement: list[str], number: int) -> None:
        self.wire = wire
        self.placement = placement
        self.id = f"{number:02x}000000"


class Gcs:
    """Serves nodes, drivers and `ray status` on one port."""

    def __init__(self, port: int, session: str) -> None:
        self.session = session
        self._lock = threading.RLock()
        self._nodes: dict[str, Node] = {}
        self._jobs: dict[str, Job] = {}
        self._jobs_seen = 0
        self._socket = listen("0.0.0.0", port)

    def start(self) -> None:
        """Serve in the background."""
        serve_each(self._socket, lambda sock: self._serve(Wire(sock)))
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(1.0)
            now = time.monotonic()
            with self._lock:
                late = [
                    node
                    for node in self._nodes.values()
                    if node.state == "ALIVE" and now - node.last_beat > DEAD_AFTER
                ]
                for node in late:
                    self._bury(
                        node,
                        "Unexpected termination: health check failed due to missing too many "
                        "heartbeats",
                    )

    def _bury(self, node: Node, message: str) -> None:
        node.state, node.message = "DEAD", message
        node.end_ms = int(time.time() * 1000)
        out(ray_core_line("gcs_node_manager.cc:540", f"Node {node.id} is dead: {message}"))
        node.wire.close()

    # -- one connection -----------------------------------------------------------------

    def _serve(self, wire: Wire) -> None:
        owned: Node | None = None
        job_id = ""
        while (message := wire.recv()) is not None:
            match message.get("op"):
                case "register":
                    owned = self._register(message, wire)
                case "beat" if owned:
                    owned.last_beat = time.monotonic()
                    owned.info["stats"] = message["stats"]
                case "leave" if owned:
                    with self._lock:
                        self._bury(owned, "Expected termination: received SIGTERM")
                case "rank_event":
                    self._to_driver(message)
                case "nodes":
                    self._answer(wire, self.snapshot())
                case "place":
                    job_id = str(message["job"])
                    self._answer(wire, self._place(message, wire))
                case "launch":
                    self._launch(message)
        if job_id:
            self._end_job(job_id)
        wire.close()

    @staticmethod
    def _answer(wire: Wire, message: Json) -> None:
        with contextlib.suppress(OSError):
            wire.send(message)

    def _register(self, message: Json, wire: Wire) -> Node | None:
        session = message.get("session")
        info: Json = message["node"]
        with self._lock:
            known = self._nodes.get(str(info["node_id"]))
            stale = session is not None and session != self.session
            if stale or (known is not None and known.state == "DEAD"):
                # A raylet that is told so exits, as in Ray: it must be started anew.
                self._answer(wire, {"ok": False, "error": "this node is marked dead in the GCS"})
                return None
            node = Node(info, wire)
            self._nodes[node.id] = node
        self._answer(wire, {"ok": True, "session": self.session})
        return node

    # -- jobs ---------------------------------------------------------------------------

    def _used(self) -> dict[str, float]:
        used: dict[str, float] = {}
        for job in self._jobs.values():
            for node_id in job.placement:
                used[node_id] = used.get(node_id, 0.0) + 1.0
        return used

    def _place(self, message: Json, wire: Wire) -> Json:
        """Reserve one GPU per rank; the first must be on the driver's own address."""
        need, driver_ip = int(message["bundles"]), str(message["driver_ip"])
        with self._lock:
            alive = [node for node in self._nodes.values() if node.state == "ALIVE"]
            used = self._used()
            free = {node.id: node.resource(GPU) - used.get(node.id, 0.0) for node in alive}
            total = sum(node.resource(GPU) for node in alive)
            base: Json = {
                "gpus": total,
                "free": sum(free.values()),
                "nodes": {node.id: dict(node.info["resources"]) for node in alive},
            }
            first = [n for n in alive if f"node:{driver_ip}" in n.info["resources"]]
            order = first + sorted(
                (n for n in alive if n not in first), key=lambda n: str(n.info["ip"])
            )
            placement: list[str] = []
            for node in order:
                while free[node.id] >= 1 and len(placement) < need:
                    free[node.id] -= 1
                    placement.append(node.id)
            if not first or len(placement) < need or placement[0] != first[0].id:
                return {"ok": False, **base, "address_known": bool(first)}
            self._jobs_seen += 1
            self._jobs[str(message["job"])] = Job(wire, placement, self._jobs_seen)
            return {"ok": True, **base, "placement": placement}

    def _launch(self, message: Json) -> None:
        with self._lock:
            job = self._jobs.get(str(message["job"]))
            nodes = dict(self._nodes)
        if job is None:
            return
        for rank, node_id in enumerate(job.placement):
            spec = {**message["spec"], "rank": rank}
            order = {**message, "op": "run", "job_id": job.id, "spec": spec}
            try:
                nodes[node_id].wire.send(order)
            except OSError as error:
                self._to_driver(
                    {"job": message["job"], "what": "exit", "rank": rank, "reason": str(error)}
                )

    def _to_driver(self, message: Json) -> None:
        with self._lock:
            job = self._jobs.get(str(message["job"]))
        if job:
            self._answer(job.wire, {"ev": "ray", **message})

    def _end_job(self, job_id: str) -> None:
        with self._lock:
            job = self._jobs.pop(job_id, None)
            wires = [self._nodes[node_id].wire for node_id in job.placement] if job else []
        for wire in wires:
            self._answer(wire, {"op": "kill", "job": job_id})

    # -- what the dashboard and `ray status` read -----------------------------------------

    def snapshot(self) -> Json:
        """Nodes with their state, and the GPUs in use."""
        with self._lock:
            used = self._used()
            nodes: list[dict[str, Any]] = [
                {
                    **node.info,
                    "state": node.state,
                    "state_message": node.message,
                    "end_ms": node.end_ms,
                    "gpus_used": used.get(node.id, 0.0) if node.state == "ALIVE" else 0.0,
                }
                for node in self._nodes.values()
            ]
        return {"session": self.session, "nodes": nodes, "gcs_pid": os.getpid()}
