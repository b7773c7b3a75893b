"""`vllm serve`'s side of the ranks: reserve GPUs in Ray, start ranks, run steps."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable

from . import mp
from .logs import gpu_visible, out, vllm_line
from .model import GPU_GIB, Model
from .scheduler import EngineDead
from .spawn import copied_environment, spawn_rank
from .sysfs import primary_ip
from .traffic import links
from .vllm_args import ServeArgs
from .wire import Json, Wire, listen

WHO = "EngineCore_DP0"
RECONNECT = "RAY_gcs_rpc_server_reconnect_timeout_s"


class StartError(Exception):
    """The engine cannot start; the text is the last line of vLLM's traceback."""


def load_times(text: str) -> tuple[float, float]:
    """SPARK_LAB_LOAD_SECONDS: a total, or `weights=60,profile=30`."""
    if "=" in text:
        parts = dict(item.split("=", 1) for item in text.split(","))
        return float(parts.get("weights", 2)), float(parts.get("profile", 1))
    total = float(text or 3)
    return total * 2 / 3, total / 3


def say(where: str, text: str, level: str = "INFO") -> None:
    """A line of the engine's process."""
    out(vllm_line(WHO, where, text, level))


class Driver:
    """All ranks of one engine."""

    def __init__(self, args: ServeArgs, model: Model) -> None:
        self._args = args
        self._model = model
        self._tp = int(args.get("tensor_parallel_size"))
        pp = int(args.get("pipeline_parallel_size"))
        self.size = self._tp * pp
        given = int(os.environ.get("SPARK_LAB_BYTES_PER_TOKEN") or 0)
        self._links = links(model.layers, model.hidden, self._tp, pp, given)
        self._job = f"{os.getpid():08x}"
        self._events: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self._wires: dict[int, Wire] = {}
        self._pids: dict[int, int] = {}
        self._ips: dict[int, str] = {}
        self._gcs: Wire | None = None
        self._step = 0
        self._closing = False
        self._ray = False
        self.kv_gib = 0.0
        self.kv_tokens = 0

    # -- start ----------------------------------------------------------------------------

    def start(self) -> None:
        """Ranks running, network up, model loaded, cache profiled."""
        if not gpu_visible():
            raise StartError(
                "RuntimeError: Failed to infer device type, please set the environment variable "
                "`VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging to help debug the issue."
            )
        began = time.monotonic()
        several = mp.nodes(self._args) > 1
        ip, port = mp.address(self._args) if several else (primary_ip(), 0)
        name = "--master-addr" if several else "VLLM_HOST_IP"
        try:
            server = listen(ip, port)
        except OSError as error:
            raise StartError(f"OSError: cannot listen on {ip} ({name}): {error}") from error
        spec = {
            "world_size": self.size,
            "tp": self._tp,
            "model": self._args.model,
            "load_format": self._args.get("load_format"),
            "driver_ip": ip,
            "driver_port": server.getsockname()[1],
        }
        backend = self._args.get("distributed_executor_backend")
        self._ray = backend == "ray" or (backend is None and self.size > 1 and not several)
        nodes: list[str] = []
        if several:
            self._start_first_node()
        elif self._ray:
            nodes = self._start_in_ray(ip, spec)
        else:
            self._start_here(spec)
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        self._collect("hello", mp.PATIENCE if several else 180.0)
        server.close()
        if self._ray:
            self._check_addresses(ip, nodes)
        self._form_ring()
        weights, profile = load_times(os.environ.get("SPARK_LAB_LOAD_SECONDS", ""))
        self._all({"op": "load", "seconds": weights})
        loaded = self._collect("loaded", weights + 300.0)
        profiling = time.monotonic()
        self._plan_cache(max(float(item["gib"]) for item in loaded.values()))
        graphs = not self._args.get("enforce_eager")
        self._all({"op": "profile", "seconds": profile, "kv_gib": self.kv_gib, "graphs": graphs})
        self._collect("profiled", profile + 300.0)
        context = int(self._args.get("max_model_len") or self._model.context)
        say("kv_cache_utils.py:1087", f"GPU KV cache size: {self.kv_tokens:,} tokens")
        say(
            "kv_cache_utils.py:1091",
            f"Maximum concurrency for {context:,} tokens per request: "
            f"{self.kv_tokens / context:.2f}x",
        )
        say(
            "core.py:210",
            "init engine (profile, create kv cache, warmup model) took "
            f"{time.monotonic() - profiling:.2f} seconds",
        )
        say("core.py:94", f"engine ready after {time.monotonic() - began:.1f} s (spark-lab)")

    def _start_first_node(self) -> None:
        """The first node's rank; those of the other nodes come by themselves."""
        try:
            mp.check(self._args, self.size)
        except mp.MpError as error:
            raise StartError(str(error)) from error
        sizes = f"world_size={self.size}, local_world_size=1"
        say("multiproc_executor.py:153", f"DP group leader: node_rank=0, {sizes}")
        self._spawn(mp.rank_spec(self._args, self.size))

    def _start_here(self, spec: Json) -> None:
        if self.size > 1:
            raise StartError(
                "RuntimeError: CUDA error: invalid device ordinal\n"
                f"World size ({self.size}) is larger than the number of available GPUs (1) in "
                "this node. Set --nnodes, or --distributed-executor-backend ray."
            )
        self._spawn({**spec, "rank": 0, "who": WHO})

    def _spawn(self, spec: Json) -> None:
        pid = spawn_rank({}, spec)
        threading.Thread(target=self._reap, args=(pid,), daemon=True).start()

    def _reap(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._events.put({"ev": "gone", "rank": 0, "reason": f"exit code {code}"})

    def _start_in_ray(self, ip: str, spec: Json) -> list[str]:
        from .ray import find_address, split_address

        address = find_address()
        if not address:
            raise StartError(
                f"ValueError: Tensor parallel size ({self._tp}) exceeds available GPUs (1): no "
                "running Ray cluster was found (RAY_ADDRESS is not set), so a local one with the "
                "GPUs of this node would be started."
            )
        out(vllm_line(WHO, "worker.py:1832", f"Connecting to existing Ray cluster at {address}..."))
        try:
            self._gcs = Wire.connect(*split_address(address), limit=10.0)
        except OSError as error:
            raise StartError(
                f"ConnectionError: Ray cluster at {address} does not answer: {error}"
            ) from error
        say("ray_utils.py:345", "No current placement group found. Creating a new placement group.")
        nodes = self._reserve(ip)
        env = copied_environment(os.environ)
        say(
            "ray_env.py:65",
            f"Copying the following environment variables to workers: {sorted(env)}",
        )
        self._gcs.send({"op": "launch", "job": self._job, "env": env, "spec": spec})
        threading.Thread(target=self._hear_ray, args=(self._gcs,), daemon=True).start()
        return nodes

    def _reserve(self, ip: str) -> list[str]:
        """vLLM waits up to 30 minutes for a placement group; the stand-in is not so patient."""
        assert self._gcs is not None
        limit = float(os.environ.get("SPARK_LAB_PG_WAIT_SECONDS") or 10)
        start = time.monotonic()
        warned = False
        while True:
            answer = self._gcs.ask(
                {"op": "place", "job": self._job, "bundles": self.size, "driver_ip": ip}
            )
            if answer["ok"]:
                nodes = [str(node) for node in answer["placement"]]
                if len(set(nodes)) > 1:
                    say(
                        "ray_utils.py:233",
                        f"tensor_parallel_size={self._tp} is bigger than a reserved number of "
                        f"GPUs (1 GPUs) in a node {nodes[0]}. Tensor parallel workers can be "
                        "spread out to 2+ nodes which can degrade the performance unless you "
                        "have fast interconnect across nodes, like Infiniband.",
                        "WARNING",
                    )
                return nodes
            if not warned and self.size > answer["gpus"]:
                say(
                    "ray_utils.py:353",
                    f"Tensor parallel size ({self._tp}) exceeds available GPUs "
                    f"({int(answer['gpus'])}). This may result in Ray placement group allocation "
                    "failures. Consider reducing tensor_parallel_size to "
                    f"{int(answer['gpus'])} or less, or use pipeline parallelism by setting "
                    f"pipeline_parallel_size to {self._tp}.",
                    "WARNING",
                )
            self._current_node(ip, answer)
            waited = time.monotonic() - start
            specs = [{"GPU": 1.0} for _ in range(self.size)]
            specs[0][f"node:{ip}"] = 0.001
            if waited >= limit:
                raise StartError(
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
                raise StartError(
                    "ValueError: Current node has no GPU available. "
                    f"current_node_resource={here}. vLLM engine cannot start without GPU. Make "
                    "sure you have at least 1 GPU available in a node "
                    f"current_node_id='{node['node_id']}' current_ip='{ip}'."
                )

    # -- messages from ranks and from Ray ----------------------------------------------------

    def _accept(self, server: object) -> None:
        while True:
            try:
                sock, _ = server.accept()  # type: ignore[attr-defined]
            except OSError:
                return
            threading.Thread(target=self._hear, args=(Wire(sock),), daemon=True).start()

    def _hear(self, wire: Wire) -> None:
        hello = wire.recv()
        if hello is None or hello.get("ev") != "hello":
            return
        rank = int(hello["rank"])
        self._wires[rank] = wire
        self._pids[rank] = int(hello["pid"])
        self._ips[rank] = str(hello["ip"])
        self._events.put(hello)
        while (message := wire.recv()) is not None:
            if message["ev"] == "log":
                prefix = f"(RayWorkerWrapper pid={hello['pid']}, ip={hello['ip']})"
                stamp = time.strftime("%m-%d %H:%M:%S")
                text = f"{message['level']} {stamp} [{message['where']}] {message['text']}"
                out(f"({WHO} pid={os.getpid()}) {prefix} {text}")
            else:
                self._events.put(message)
        self._events.put({"ev": "gone", "rank": rank, "reason": "connection closed"})

    def _hear_ray(self, gcs: Wire) -> None:
        while (message := gcs.recv()) is not None:
            if message.get("what") == "exit":
                self._events.put({**message, "ev": "gone"})
        self._events.put({"ev": "gone", "rank": -1, "reason": "lost the Ray head"})
        if not self._closing:
            # A Ray driver ends itself when its head does not come back.
            time.sleep(float(os.environ.get(RECONNECT) or 60))
            say("gcs_rpc_client.h:151", "Failed to connect to GCS; the driver exits.", "ERROR")
            os._exit(1)

    def _all(self, message: Json) -> None:
        for wire in self._wires.values():
            with contextlib.suppress(OSError):
                wire.send(message)

    def _collect(
        self, kind: str, limit: float, error: Callable[[str], Exception] = StartError
    ) -> dict[int, Json]:
        """One message of this kind from each rank, or the first failure."""
        found: dict[int, Json] = {}
        deadline = time.monotonic() + limit
        while len(found) < self.size:
            try:
                message = self._events.get(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                missing = sorted(set(range(self.size)) - set(found))
                raise error(
                    f"TimeoutError: no `{kind}` from rank {missing} within {limit:.0f} s"
                ) from None
            rank = int(message["rank"])
            if message["ev"] == "fatal":
                raise error(str(message["error"]))
            if message["ev"] == "gone":
                raise error(self._obituary(rank, str(message["reason"])))
            if message["ev"] == kind:
                found[rank] = message
        return found

    def _obituary(self, rank: int, reason: str) -> str:
        if not self._ray:
            return (
                f"RuntimeError: Worker proc VllmWorker-{rank} died unexpectedly ({reason}), "
                "shutting down executor."
            )
        return (
            "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this "
            f"task.\n\tclass_name: RayWorkerWrapper\n\trank: {rank}\n\tpid: "
            f"{self._pids.get(rank, 0)}\n\tip: {self._ips.get(rank, 'unknown')}\n"
            f"The actor is dead because its worker process has died. Worker exit detail: {reason}."
        )

    def _check_addresses(self, ip: str, nodes: list[str]) -> None:
        ips = {*self._ips.values(), ip}
        ids = sorted(set(nodes))
        if len(ids) != len(ips):
            raise StartError(
                f"RuntimeError: Every node should have a unique IP address. Got {len(ids)} nodes "
                f"with node ids {ids} and {len(ips)} unique IP addresses {ips}. Please check your "
                "network configuration. If you set `VLLM_HOST_IP` environment variable, make sure "
                "it is unique for each node."
            )

    def _form_ring(self) -> None:
        self._all({"op": "init"})
        if self.size > 1:
            found = self._collect("net", 180.0)
            order = [found[rank] for rank in range(self.size)]
            self._all(
                {
                    "op": "ring",
                    "nets": [item["net"] for item in order],
                    "oob": [item["oob"] for item in order],
                }
            )
        self._collect("ready", 240.0)

    def _plan_cache(self, model_gib: float) -> None:
        """The KV cache of a GB10 with this model, in numbers only."""
        self.kv_gib = float(self._args.get("gpu_memory_utilization")) * GPU_GIB - model_gib - 0.2
        if self.kv_gib <= 0:
            raise StartError(
                "ValueError: No available memory for the cache blocks. Try increasing "
                "`gpu_memory_utilization` when initializing the engine."
            )
        element = 1 if str(self._args.get("kv_cache_dtype")).startswith("fp8") else 2
        per_token = self._model.kv_bytes_per_token(element, self._tp)
        self.kv_tokens = int(self.kv_gib * 2**30 / per_token) // 16 * 16

    # -- run ------------------------------------------------------------------------------

    def step(self, tokens: int) -> None:
        """One step on all ranks; EngineDead if any of them cannot."""
        self._step += 1
        for rank, wire in self._wires.items():
            ways = {"send": tokens * self._links[rank], "receive": tokens * self._links[rank - 1]}
            try:
                wire.send({"op": "step", "step": self._step, **ways})
            except OSError as error:
                raise EngineDead(self._obituary(rank, str(error))) from error
        limit = float(os.environ.get("RAY_CGRAPH_get_timeout") or 300)  # noqa: SIM112
        self._collect("done", limit, EngineDead)

    def close(self) -> None:
        """Ranks end when their connection does."""
        self._closing = True
        for wire in list(self._wires.values()):
            wire.close()
        if self._gcs:
            self._gcs.close()
