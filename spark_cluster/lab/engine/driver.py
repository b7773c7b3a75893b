"""`vllm serve`'s side of the ranks: reserve GPUs in Ray, start ranks, run steps."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable

from . import mp, tracebacks
from .engine_log import StartError, pass_on, say
from .logs import gpu_visible
from .model import GPU_GIB, Model
from .ray_job import DIED, RayJob
from .release import RECORDED, at_least, later
from .scheduler import EngineDead
from .spawn import spawn_rank
from .sysfs import primary_ip
from .traffic import links
from .vllm_args import ServeArgs
from .wire import Json, Wire, listen, serve_each

FAILED = "RuntimeError: Executor failed."


def load_times(text: str) -> tuple[float, float]:
    """SPARK_LAB_LOAD_SECONDS: a total, or `weights=60,profile=30`."""
    if "=" in text:
        parts = dict(item.split("=", 1) for item in text.split(","))
        return float(parts.get("weights", 2)), float(parts.get("profile", 1))
    total = float(text or 3)
    return total * 2 / 3, total / 3


class Driver:
    """All ranks of one engine."""

    def __init__(
        self, args: ServeArgs, model: Model, on_death: Callable[[str], None] = lambda _: None
    ) -> None:
        self._args = args
        self._model = model
        self._on_death = on_death
        self._running = False
        self._tp = int(args.get("tensor_parallel_size"))
        pp = int(args.get("pipeline_parallel_size"))
        self.size = self._tp * pp
        given = int(os.environ.get("SPARK_LAB_BYTES_PER_TOKEN") or 0)
        self._links = links(model.layers, model.hidden, self._tp, pp, given)
        self._events: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self._wires: dict[int, Wire] = {}
        self._pids: dict[int, int] = {}
        self._ips: dict[int, str] = {}
        self._ports: dict[int, int] = {}
        self._step = 0
        self._closing = False
        self._ray: RayJob | None = None
        self._mp = False
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
        at = (ip, server.getsockname()[1])
        spec = mp.rank_spec(self._args, self.size, self._model.path, at)
        backend = self._args.get("distributed_executor_backend")
        if backend == "ray" or (backend is None and self.size > 1 and not several):
            self._ray = RayJob(self.size, self._tp, self._ray_exit)
        self._mp = several
        nodes: list[str] = []
        if several:
            self._start_first_node(spec)
        elif self._ray:
            nodes = self._ray.start(ip, spec)
        else:
            self._start_here(spec)
        serve_each(server, lambda sock: self._hear(Wire(sock)))
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
        context = int(self._args.get("max_model_len") or self._model.context)
        graphs = not self._args.get("enforce_eager")
        self._all({"op": "profile", "seconds": profile, "kv_gib": self.kv_gib})
        self._collect("profiled", profile + 300.0)
        self._check_cache(context)
        where = later("kv_cache_utils.py:1744", "kv_cache_utils.py:1087")
        say(where, f"GPU KV cache size: {self.kv_tokens:,} tokens")
        say(
            later("kv_cache_utils.py:1745", "kv_cache_utils.py:1091"),
            f"Maximum concurrency for {context:,} tokens per request: "
            f"{self.kv_tokens / context:.2f}x",
        )
        self._all({"op": "warm-up", "graphs": graphs})
        self._collect("warm", 300.0)
        took = time.monotonic() - profiling
        say(
            later("core.py:306", "core.py:210"),
            "init engine (profile, create kv cache, warmup model) took "
            + later(f"{took:.2f} s (compilation: 0.00 s)", f"{took:.2f} seconds"),
        )
        say("core.py:94", f"engine ready after {time.monotonic() - began:.1f} s (spark-lab)")
        self._running = True

    def _start_first_node(self, spec: Json) -> None:
        """The first node's rank; those of the other nodes come by themselves."""
        try:
            mp.check(self._args, self.size)
        except mp.MpError as error:
            raise StartError(str(error)) from error
        host, _ = mp.address(self._args)
        say(
            "multiproc_executor.py:140",
            f"DP group leader: node_rank=0, node_rank_within_dp=0, master_addr={host}, "
            f"mq_connect_ip={host} (local), world_size={self.size}, local_world_size=1",
        )
        self._spawn({**spec, **mp.own_rank(self._args)})

    def _start_here(self, spec: Json) -> None:
        if self.size > 1:
            raise StartError(
                "RuntimeError: CUDA error: invalid device ordinal\n"
                f"World size ({self.size}) is larger than the number of available GPUs (1) in "
                "this node. Set --nnodes, or --distributed-executor-backend ray."
            )
        self._spawn({**spec, "rank": 0, "executor": "uni"})

    def _spawn(self, spec: Json) -> None:
        pid = spawn_rank({}, spec)
        threading.Thread(target=self._reap, args=(pid,), daemon=True).start()

    def _reap(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if self._mp and self._running:
            # Its own rank only: that of another node is watched by nobody.
            self._lost("Worker proc VllmWorker-0 died unexpectedly", "multiproc_executor.py:284")
        self._events.put({"ev": "gone", "rank": 0, "reason": f"exit code {code}"})

    def _lost(self, what: str, where: str) -> None:
        if not self._closing:
            self._closing = True
            say(where, f"{what}, shutting down executor.", "ERROR")
            self._on_death(FAILED)

    # -- messages from ranks and from Ray ----------------------------------------------------

    def _hear(self, wire: Wire) -> None:
        hello = wire.recv()
        if hello is None or hello.get("ev") != "hello":
            return
        rank = int(hello["rank"])
        self._wires[rank] = wire
        self._pids[rank] = int(hello["pid"])
        self._ips[rank] = str(hello["ip"])
        self._ports[rank] = int(wire.sock.getpeername()[1])
        self._events.put(hello)
        while (message := wire.recv()) is not None:
            self._events.put(message)
        if self._running and self._mp:
            return  # its own rank is a child; nobody watches one of another node
        if self._running and self._ray and at_least(RECORDED):
            # Ray tells, unless its node is lost too.
            time.sleep(2.0)
            self._ray_exit({"rank": rank, "pid": self._pids[rank], "ip": self._ips[rank]})
            return
        self._events.put({"ev": "gone", "rank": rank, "reason": "connection closed"})

    def _ray_exit(self, message: Json) -> None:
        """The executor of 0.23 watches its ranks; that of 0.11 finds out at the next step."""
        if self._running and not self._closing and message["rank"] >= 0:
            pass_on(DIED.format(ip=message["ip"], pid=message["pid"]))
            if at_least(RECORDED):
                what = f"RayWorkerProc rank=[{message['rank']}] died unexpectedly"
                self._lost(what, "ray_executor_v2.py:464")
        self._events.put({"reason": "", **message, "ev": "gone"})

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
                raise self._failure(rank, str(message["error"]), error)
            if message["ev"] == "gone":
                raise error(self._obituary(rank, str(message["reason"])))
            if message["ev"] == kind:
                found[rank] = message
        return found

    def _failure(self, rank: int, text: str, error: Callable[[str], Exception]) -> Exception:
        """What the engine says of a rank's exception. Ray hands it on; without Ray it is in the
        rank's own log, and the first node's rank has lost its peer."""
        if error is not StartError or not (self._ray or self._mp):
            return error(text)
        if self._ray:
            ip, pid = self._ips.get(rank, "unknown"), self._pids.get(rank, 0)
            call = later("RayWorkerProc.initialize_worker", "RayWorkerWrapper.execute_method")
            task = (
                f"ray.exceptions.RayTaskError({text.split(':')[0]}): \x1b[36mray::{call}()\x1b[39m"
            )
            return StartError(f"{task} (pid={pid}, ip={ip})\n{text}", tracebacks.IN_RAY)
        if rank and 0 in self._wires:
            peer = {"op": "peer", "ip": self._ips.get(rank, ""), "port": self._ports.get(rank, 0)}
            with contextlib.suppress(OSError):
                # It loads its part of the model before it meets the other again.
                self._wires[0].send({"op": "load", "seconds": 0.0})
                self._wires[0].send(peer)
                self._wires[0].sock.settimeout(10.0)
            deadline = time.monotonic() + 10.0
            while time.monotonic() < deadline:
                with contextlib.suppress(queue.Empty):
                    message = self._events.get(timeout=0.5)
                    if message["ev"] == "fatal" and int(message["rank"]) == 0:
                        break
        return StartError(mp.BACKGROUND, tracebacks.WITHOUT_RAY)

    def _obituary(self, rank: int, reason: str) -> str:
        if self._running and (self._mp or at_least(RECORDED)):
            return FAILED
        if not self._ray:
            return (
                f"RuntimeError: Worker proc VllmWorker-{rank} died unexpectedly ({reason}), "
                "shutting down executor."
            )
        actor = later("RayWorkerProc", "RayWorkerWrapper")
        return (
            "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this "
            f"task.\n\tclass_name: {actor}\n\trank: {rank}\n\tpid: "
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
        self.kv_tokens = int(self.kv_gib * 2**30 / self._kv_bytes_per_token()) // 16 * 16

    def _kv_bytes_per_token(self) -> int:
        element = 1 if str(self._args.get("kv_cache_dtype")).startswith("fp8") else 2
        return self._model.kv_bytes_per_token(element, self._tp)

    def _check_cache(self, context: int) -> None:
        """One request of the model's length must fit."""
        blocks = self._args.get("num_gpu_blocks_override")
        if blocks is not None:
            where = later("kv_cache_utils.py:2035", "kv_cache_utils.py:1050")
            own = self.kv_tokens // 16
            for _ in range(self.size):
                text = f"Overriding num_gpu_blocks={own} with num_gpu_blocks_override={blocks}"
                say(where, text)
            self.kv_tokens = int(blocks) * 16
        if self.kv_tokens >= context:
            return
        per_token = self._kv_bytes_per_token()
        # "the models's" until 0.12 at least; how the releases between wrote it was not recorded.
        models = "model's" if at_least("0.20.0") else "models's"
        raise StartError(
            f"ValueError: To serve at least one request with the {models} max seq len ({context}), "
            f"({context * per_token / 2**30:.2f} GiB KV cache is needed, which is larger than the "
            f"available KV cache memory ({self.kv_tokens * per_token / 2**30:.2f} GiB). Based on "
            f"the available memory, the estimated maximum model length is {self.kv_tokens}. Try "
            "increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing "
            "the engine.",
            tracebacks.CACHE,
        )

    # -- run ------------------------------------------------------------------------------

    def step(self, tokens: int) -> None:
        """One step on all ranks; EngineDead if any of them cannot."""
        self._step += 1
        for rank, wire in self._wires.items():
            ways = {"send": tokens * self._links[rank], "receive": tokens * self._links[rank - 1]}
            try:
                wire.send({"op": "step", "step": self._step, **ways})
            except OSError as error:
                if self._mp and rank:
                    continue  # its absence is felt in NCCL, by the first node's rank
                raise EngineDead(self._obituary(rank, str(error))) from error
        name = "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS" if self._mp else "RAY_CGRAPH_get_timeout"
        limit = float(os.environ.get(name) or 300)
        self._collect("done", limit, EngineDead)

    def abandon(self) -> None:
        """After a start that failed."""
        if self._ray and self._wires and at_least(RECORDED):
            self._ray.abandon()
        self.close()

    def close(self) -> None:
        """Ranks end when their connection does."""
        self._closing = True
        for wire in list(self._wires.values()):
            wire.close()
        if self._ray:
            self._ray.close()
