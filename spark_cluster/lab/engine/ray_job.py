"""A driver's job in Ray: the placement group, the ranks' start, their lines and their ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from . import tracebacks
from .engine_log import StartError, pass_on, say
from .logs import ray_line
from .ray_logs import Deduplicator, Source
from .release import at_least, engine_process, later
from .spawn import copied_environment
from .wire import Json, Wire

RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"
DIED = (
    "\x1b[33m(raylet)\x1b[0m A worker died or was killed while executing a task by an unexpected "
    "system error. To troubleshoot the problem, check the logs for the dead worker. Worker IP "
    "address: {ip} Worker PID: {pid} Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: "
    "(1) the process was killed by the OOM killer due to high memory usage, (2) ray stop --force "
    "was called, or (3) the worker crashed unexpectedly due to SIGSEGV or another unexpected error."
)
UNKNOWN = "ray.exceptions.ActorHandleNotFoundError: "


def _refusal(text: str) -> StartError:
    """What ends a start in Ray's executor."""
    return StartError(text, tracebacks.EXECUTOR)


class RayJob:
    """One driver's part of the cluster."""

    def __init__(self, size: int, tp: int, on_exit: Callable[[Json], None]) -> None:
        self._size = size
        self._tp = tp
        self._on_exit = on_exit
        self._job = f"{os.getpid():08x}"
        self._gcs: Wire | None = None
        self._filters = {"out": Deduplicator(), "err": Deduplicator()}
        self._address = ""
        self._closing = False

    def start(self, ip: str, spec: Json) -> list[str]:
        """Reserve a GPU for each rank and have them started: the nodes' ids, by rank."""
        from .ray import find_address, split_address

        address = find_address()
        if not address:
            raise _refusal(
                "ConnectionError: Could not find any running Ray instance: RAY_ADDRESS is not set, "
                "and vLLM would start a cluster of this node alone (spark-lab)"
            )
        # Printed wherever a node has fewer GPUs than there are ranks: on every Spark.
        say(
            later("ray_utils.py:557", "ray_utils.py:353"),
            f"Tensor parallel size ({self._size}) exceeds available GPUs (1). This may result in "
            "Ray placement group allocation failures. Consider reducing tensor_parallel_size to 1 "
            f"or less, or ensure your Ray cluster has {self._size} GPUs available.",
            "WARNING",
        )
        self._address = address
        self._say_connecting()
        try:
            self._gcs = Wire.connect(*split_address(address), limit=10.0)
        except OSError as error:
            text = f"ConnectionError: Ray cluster at {address} does not answer: {error}"
            raise _refusal(text) from error
        pass_on(ray_line("worker.py:2003", "Connected to Ray cluster."))
        where = later("ray_utils.py:622", "ray_utils.py:345")
        say(where, "No current placement group found. Creating a new placement group.")
        nodes = self._reserve(ip)
        env = copied_environment(os.environ)
        if not at_least("0.20.0"):
            say(
                "ray_env.py:65",
                f"Copying the following environment variables to workers: {sorted(env)}",
            )
        actor = later("RayWorkerProc", "RayWorkerWrapper")
        order = {**spec, "executor": "ray", "actor": actor}
        self._gcs.send({"op": "launch", "job": self._job, "env": env, "spec": order})
        threading.Thread(target=self._hear, args=(self._gcs, ip), daemon=True).start()
        return nodes

    def _reserve(self, ip: str) -> list[str]:
        """vLLM waits up to 30 minutes for a placement group; the stand-in is not so patient."""
        assert self._gcs is not None
        limit = float(os.environ.get("SPARK_LAB_PG_WAIT_SECONDS") or 10)
        start = time.monotonic()
        warned = False
        while True:
            answer = self._gcs.ask(
                {"op": "place", "job": self._job, "bundles": self._size, "driver_ip": ip}
            )
            if answer["ok"]:
                nodes = [str(node) for node in answer["placement"]]
                for node in dict.fromkeys(nodes) if self._tp > 1 else ():
                    say(
                        later("ray_utils.py:317", "ray_utils.py:233"),
                        f"tensor_parallel_size={self._tp} is bigger than a reserved number of "
                        f"GPUs (1 GPUs) in a node {node}. Tensor parallel workers can be "
                        "spread out to 2+ nodes which can degrade the performance unless you "
                        "have fast interconnect across nodes, like Infiniband. To resolve this "
                        f"issue, make sure you have more than {self._tp} GPUs available at each "
                        "node.",
                        "WARNING",
                    )
                return nodes
            self._current_node(ip, answer)
            waited = time.monotonic() - start
            specs = [{"GPU": 1.0} for _ in range(self._size)]
            specs[0][f"node:{ip}"] = 0.001
            if waited >= limit:
                raise _refusal(
                    f"ValueError: Cannot provide a placement group of "
                    f"placement_group_specs={specs} within {limit:.0f} seconds. See `ray status` "
                    "and `ray list nodes` to make sure the cluster has enough resources."
                )
            if not warned:
                warned = True
                say(
                    "ray_utils.py:265",
                    f"Waiting for creating a placement group of specs for {int(waited)} seconds. "
                    f"specs={specs}. Check `ray status` and `ray list nodes` to see if you have "
                    "enough resources, and make sure the IP addresses used by ray cluster are the "
                    "same as VLLM_HOST_IP environment variable specified in each node if you are "
                    "running on a multi-node.",
                )
            time.sleep(1.0)

    def _current_node(self, ip: str, answer: Json) -> None:
        """The engine needs a GPU on the node where it runs itself."""
        from .ray import local_nodes

        for node in local_nodes():
            here = answer["nodes"].get(node["node_id"])
            if here is not None and here.get("GPU", 0) < 1:
                raise _refusal(
                    "ValueError: Current node has no GPU available. "
                    f"current_node_resource={here}. vLLM engine cannot start without GPU. Make "
                    "sure you have at least 1 GPU available in a node "
                    f"current_node_id='{node['node_id']}' current_ip='{ip}'."
                )

    def _hear(self, gcs: Wire, here: str) -> None:
        while (message := gcs.recv()) is not None:
            if message.get("what") == "log":
                ip = "" if message["ip"] == here else str(message["ip"])
                source = Source(str(message["actor"]), int(message["pid"]), ip)
                for line in self._filters[str(message["end"])].take(source, message["lines"]):
                    pass_on(line)
            elif message.get("what") == "exit":
                self._on_exit(message)
        self._on_exit({"rank": -1, "reason": "lost the Ray head"})
        if not self._closing:
            # A Ray driver ends itself when its head does not come back.
            time.sleep(float(os.environ.get(RECONNECT) or 60))
            say("gcs_rpc_client.h:151", "Failed to connect to GCS; the driver exits.", "ERROR")
            os._exit(1)

    def _say_connecting(self) -> None:
        text = f"Connecting to existing Ray cluster at address: {self._address}..."
        pass_on(ray_line("worker.py:1814", text))

    def abandon(self) -> None:
        """After a start that failed: 0.23 ends Ray's session before it ends its ranks, opens
        another one to do so, and is told of each that it is not known there."""
        self._say_connecting()
        pass_on(ray_line("worker.py:2003", "Connected to Ray cluster."))
        self.close()
        who, where = engine_process(), "ray_executor_v2.py:516"
        for rank in range(self._size):
            actor = f"{os.getpid():08x}{rank:016x}01000000"
            first = f"{UNKNOWN}Failed to find a corresponding actor handle for {actor}"
            second = (
                f"{UNKNOWN}ActorHandle objects are not valid across Ray sessions. The actor handle "
                "was created in job 01000000, but the current job is 02000000."
            )
            between = "\nThe above exception was the direct cause of the following exception:\n\n"
            chain = "\n".join((first, between + "\n".join(tracebacks.text_of((), second))))
            text = f"Failed to kill actor rank={rank}"
            tracebacks.logged(who, where, text, tracebacks.KILL, chain)

    def close(self) -> None:
        """Let the ranks go, and print what was held back of their lines."""
        self._closing = True
        for held in self._filters.values():
            for line in held.flush():
                pass_on(line)
        if self._gcs:
            self._gcs.close()
