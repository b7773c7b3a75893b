"""One rank: what Ray, or `vllm serve` itself, starts inside a container."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Protocol

from . import nccl, ray_logs, sysfs, tracebacks
from .logs import err, gpu_visible, out, set_process_name, set_title, vllm_line
from .model import GPU_GIB
from .nccl_log import NcclLog
from .release import at_least, engine_process, later
from .spawn import place, title
from .tcp import TcpTransport, TransferError
from .wire import Json, Wire, listen

if TYPE_CHECKING:
    from .verbs import Rail

REMOTE_ERROR = (
    "NCCL error: remote process exited or there was a network error, NCCL version 2.28.9\n"
    "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting "
    "prematurely."
)


class RankError(Exception):
    """The rank cannot go on; the text goes to the driver, as a Ray task's error does."""


class Transport(Protocol):
    """Moves one step's bytes to the next rank and takes those of the previous one."""

    name: str

    def exchange(self, step: int, send: int, receive: int, limit: float = 300.0) -> None:
        """Return when both directions are complete; nothing moves where the bytes are 0."""

    def close(self) -> None:
        """Give everything back."""


class Rank:
    """The life of one rank, driven by messages from `vllm serve`."""

    def __init__(self, spec: Json) -> None:
        self.spec = spec
        self.rank = int(spec["rank"])
        self.size = int(spec["world_size"])
        self.env = dict(os.environ)
        self.log = NcclLog(self.env)
        self.who = {"ray": later("Worker", ""), "uni": engine_process()}.get(
            str(spec["executor"]), "Worker"
        )
        self.ends_in_order = spec["executor"] != "ray"
        self.driver = _reach(
            str(spec["driver_ip"]), int(spec["driver_port"]), float(spec.get("patience", 0))
        )
        self.transport: Transport | None = None
        self.memory = b""

    def say(self, where: str, text: str, level: str = "INFO") -> None:
        """A line of vLLM's: in this container's log, or in Ray's file."""
        out(vllm_line(self.who, where, text, level))

    def run(self) -> int:
        """Obey the driver until it goes."""
        self.driver.send(
            {"ev": "hello", "rank": self.rank, "pid": os.getpid(), "ip": sysfs.primary_ip()}
        )
        try:
            if not gpu_visible():
                raise RankError("RuntimeError: No CUDA GPUs are available")
            while (message := self.driver.recv()) is not None:
                self.obey(message)
            return 0
        except RankError as error:
            if self.spec["executor"] == "mp":
                where = later("multiproc_executor.py:888", "multiproc_executor.py:670")
                first = "WorkerProc failed to start."
                tracebacks.logged(self.who, where, first, tracebacks.WORKER, str(error))
            with contextlib.suppress(OSError):
                self.driver.send({"ev": "fatal", "rank": self.rank, "error": str(error)})
                # The driver must read it before it sees that the process is gone.
                self.driver.sock.settimeout(5.0)
                self.driver.recv()
            return 1
        except OSError:
            return 1
        finally:
            if self.transport:
                self.transport.close()
            # Ray kills its workers: what NCCL's buffer holds is then in no log.
            if self.ends_in_order:
                self.log.flush()

    def obey(self, message: Json) -> None:
        """One message of the driver."""
        match message["op"]:
            case "init":
                self.init_network()
            case "load":
                self.load(message)
            case "profile":
                self.profile(message)
            case "warm-up":
                self.warm_up(message)
            case "peer":
                text = (
                    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed "
                    f"by peer [{message['ip']}]:{message['port']}"
                )
                where = "parallel_state.py:2166"
                self.say(where, f"Error ignored in is_in_the_same_node: {text}", "ERROR")
                raise RankError(f"RuntimeError: {text}")
            case "step":
                self.step(int(message["step"]), int(message["send"]), int(message["receive"]))

    # -- the network ------------------------------------------------------------------

    def init_network(self) -> None:
        """Choose the network as NCCL would and join the ring."""
        address = f"tcp://{self.spec['driver_ip']}:{self.spec['driver_port']}"
        self.say(
            later("parallel_state.py:1568", "parallel_state.py:1040"),
            f"world_size={self.size} rank={self.rank} local_rank=0 "
            f"distributed_init_method={address} backend=nccl",
        )
        if self.size > 1:
            if self.rank == 0 or not at_least("0.20.0"):
                where = later("pynccl.py:113", "pynccl.py:103")
                self.say(where, f"vLLM is using nccl=={nccl.VERSION.split('+')[0]}")
            self.join()
        stage, rank = divmod(self.rank, int(self.spec["tp"]))
        self.say(
            later("parallel_state.py:1903", "parallel_state.py:1208"),
            f"rank {self.rank} in world size {self.size} is assigned as DP rank 0, "
            f"PP rank {stage}, {later('PCP rank 0, ', '')}TP rank {rank}, EP rank {rank}"
            f"{later(', EPLB rank N/A', '')}",
        )
        self.check_memory()
        if self.who == "Worker":
            self.who = place(self.spec)
        self.driver.send({"ev": "ready", "rank": self.rank})

    def check_memory(self) -> None:
        """Refuse to start where less is free than `--gpu-memory-utilization` wants."""
        wanted = float(self.spec["utilization"])
        free = float(self.env.get("SPARK_LAB_GPU_FREE_GIB") or GPU_GIB)
        if free < wanted * GPU_GIB:
            raise RankError(
                f"ValueError: Free memory on device {later('cuda:0 ', '')}({free:g}/{GPU_GIB} GiB) "
                f"on startup is less than desired GPU memory utilization ({wanted:g}, "
                f"{wanted * GPU_GIB:.2f} GiB). Decrease GPU memory utilization or reduce GPU "
                "memory used by other processes."
            )

    def join(self) -> None:
        """Bootstrap over sockets, then IB or sockets for the data."""
        found = nccl.select_interfaces(sysfs.interfaces(), self.env)
        if not found:
            self.log.warn("bootstrap.cc:109", "Bootstrap : no socket interface found")
            raise RankError(_nccl_error("internal error - please report this issue"))
        here = found[0]
        self.log.bootstrap(here, rank=self.rank)
        server = listen(here.address, 0)
        decision, rails = self.choose(found)
        comm = f"0x{os.getpid() * 7919 % 0xFFFFFFFF:08x}"
        self.driver.send(
            {"ev": "net", "rank": self.rank, "net": decision.net, "oob": server.getsockname()}
        )
        plan = self.driver.recv()
        if plan is None:
            raise RankError("the driver has gone")
        if plan["nets"] != [decision.net] * self.size:
            # NCCL has no agreement on the plugin; the handles do not fit and connect fails.
            self.log.warn("transport/net.cc:1", f"ranks chose different networks: {plan['nets']}")
            raise RankError(_nccl_error("internal error - please report this issue"))
        to_next, from_prev = self.meet(server, plan["oob"])
        try:
            if decision.net == "IB":
                from .verbs import VerbsTransport

                ends = Wire(to_next), Wire(from_prev)
                self.transport = VerbsTransport(rails, *ends, lambda s: self.log.info(s, "NET"))
            else:
                self.transport = TcpTransport(to_next, from_prev)
        except Exception as error:
            self.log.warn("misc/ibvwrap.cc:190", str(error))
            raise RankError(_nccl_error("unhandled system error")) from error
        self.tell_connected(comm, decision, here)

    def tell_connected(self, comm: str, decision: nccl.Decision, here: nccl.Interface) -> None:
        """vLLM's own communicators, for the tensors and the experts, and then torch's."""
        devices = [hca.device for hca in decision.hcas] or [here.name]
        calls = ("ncclCommInitRank", "ncclCommInitRank", "ncclCommInitRankConfig")
        for number, call in enumerate(calls):
            if number:
                if call.endswith("Config"):
                    self.log.info("Comm config Blocking set to 1")
                self.log.assigned(decision.net, first=False)
            self.log.connected(
                self.rank, self.size, comm, decision.net, devices, call=call, first=not number
            )

    def choose(self, found: list[nccl.Interface]) -> tuple[nccl.Decision, list[Rail]]:
        """Open what NCCL_IB_HCA names; what cannot be opened or pinned is not used."""
        rails = []
        if self.env.get("NCCL_NET", "").lower() != "socket":
            usable = []
            for port in nccl.select_hcas(sysfs.rdma_ports(), self.env):
                from .verbs import Rail, VerbsError

                try:
                    rails.append(Rail(port, nccl.select_gid(port.gids, self.env), self.env))
                    usable.append(port)
                except VerbsError as error:
                    self.log.warn("misc/ibvwrap.cc:190", str(error))
            decision = nccl.decide(usable, self.env)
            self.log.ib_devices(usable, found[0])
        else:
            decision = nccl.decide((), self.env)
        if decision.error:
            self.log.no_network()
            raise RankError(_nccl_error("invalid usage"))
        if decision.net == "Socket":
            self.log.socket_devices(found)
        self.log.assigned(decision.net)
        return decision, rails

    def meet(
        self, server: socket.socket, oob: list[list[object]]
    ) -> tuple[socket.socket, socket.socket]:
        """Connect to the next rank and accept the previous one."""
        host, port = oob[(self.rank + 1) % self.size]
        try:
            to_next = socket.create_connection((str(host), int(str(port))), 60.0)
            server.settimeout(60.0)
            from_prev, _ = server.accept()
        except OSError as error:
            self.log.warn(
                "misc/socket.cc:583",
                f"socketPollConnect: connect to {host}<{port}> returned {error}, "
                "exceeded error retry count after 35 attempts",
            )
            text = _nccl_error("remote process exited or there was a network error")
            raise RankError(text) from error
        for sock in (to_next, from_prev):
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.close()
        return to_next, from_prev

    # -- the model --------------------------------------------------------------------

    def load(self, message: Json) -> None:
        """Find the files in this container's cache, take the time, take the memory."""
        from .model import ModelError, find_model

        name = str(self.spec["model"])
        if self.rank == 0 or not at_least("0.20.0"):
            where = later("gpu_model_runner.py:5092", "gpu_model_runner.py:2602")
            self.say(where, f"Starting to load model {name}...")
        try:
            model = find_model(name, self.env, str(self.spec.get("load_format", "auto")))
        except ModelError as error:
            raise RankError(str(error)) from error
        if not at_least("0.20.0"):
            self.say("gpu_model_runner.py:2634", "Loading model from scratch...")
        seconds = float(message["seconds"])
        start = time.monotonic()
        shards = max(1, model.shards)
        marks = min(shards, 10)
        for mark in range(marks + 1):
            done = shards * mark // marks
            if mark:
                time.sleep(seconds / marks)
            if self.rank == 0:
                took = time.monotonic() - start
                rate = f"{took / done:.2f}s/it" if done else "?it/s"
                process = f"({self.who} pid={os.getpid()}) " if self.who else ""
                err(
                    f"{process}Loading safetensors checkpoint shards: "
                    f"{100 * done // shards:3d}% Completed | {done}/{shards} "
                    f"[{_clock(took)}<{_clock(max(0.0, seconds - took))}, {rate}]"
                )
        # Real memory, so that MemAvailable moves and teardown has something to give back.
        self.memory = b"\x5a" * (int(self.env.get("SPARK_LAB_MODEL_MIB", "64") or 64) << 20)
        took = time.monotonic() - start
        if self.rank == 0 or not at_least("0.20.0"):
            self.say("default_loader.py:267", f"Loading weights took {took:.2f} seconds")
        gib = model.gib / self.size
        size = later(f"{gib:.1f} GiB memory", f"{gib:.4f} GiB")
        self.say(
            later("gpu_model_runner.py:5187", "gpu_model_runner.py:2653"),
            f"Model loading took {size} and {time.monotonic() - start:.6f} seconds",
        )
        self.driver.send({"ev": "loaded", "rank": self.rank, "gib": gib})

    def profile(self, message: Json) -> None:
        """The time that profiling takes on a GPU."""
        time.sleep(float(message["seconds"]))
        self.say(
            later("gpu_worker.py:480", "gpu_worker.py:298"),
            f"Available KV cache memory: {float(message['kv_gib']):.2f} GiB",
        )
        self.driver.send({"ev": "profiled", "rank": self.rank})

    def warm_up(self, message: Json) -> None:
        """The cache is there: graphs are captured."""
        if message.get("graphs"):
            self.say(
                later("gpu_model_runner.py:6585", "gpu_model_runner.py:3480"),
                "Graph capturing finished in 0 secs, took 0.00 GiB",
            )
        self.driver.send({"ev": "warm", "rank": self.rank})

    def step(self, step: int, send: int, receive: int) -> None:
        """One iteration of the model: what all its tokens move."""
        if self.transport:
            try:
                self.transport.exchange(step, send, receive)
            except TransferError as error:
                self.log.warn("transport/net.cc:1", str(error))
                self.hang()
                raise RankError(_nccl_error("unhandled system error")) from error
        self.driver.send({"ev": "done", "rank": self.rank, "step": step})

    def hang(self) -> None:
        """Wait for the lost peer, as a kernel of NCCL's does on a GPU: vLLM asks nobody how its
        communicator is. In the end torch's watchdog finds its own broken and ends the process.

        With Ray the driver is told of a lost rank, and ends this one before.
        """
        patience = float(self.env.get("SPARK_LAB_NCCL_REMOTE_SECONDS") or 60.0)
        self.driver.sock.settimeout(patience)
        with contextlib.suppress(TimeoutError):
            while self.driver.recv() is not None:
                continue
            return
        self.log.flush()
        stamp = time.strftime("%m%d %H:%M:%S")
        err(
            f"[rank{self.rank}]:[E{stamp}.000000000 ProcessGroupNCCL.cpp:2073] [PG ID 2 PG GUID 3 "
            f"Rank {self.rank}] Process group watchdog thread terminated with exception: "
            f"{REMOTE_ERROR}"
        )
        os.abort()


def _reach(host: str, port: int, patience: float) -> Wire:
    """The driver; without Ray it may start later than its ranks."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return Wire.connect(host, port, 60.0)
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def _nccl_error(kind: str) -> str:
    """As vLLM's own binding raises it: the error's name only, with NCCL's advice."""
    advice = {
        "invalid usage": " (run with NCCL_DEBUG=WARN for details)",
        "unhandled system error": " (run with NCCL_DEBUG=INFO for details)",
    }.get(kind, "")
    return f"RuntimeError: NCCL error: {kind}{advice}"


def main() -> int:
    """Entry of a rank's process; its order is in the environment."""
    spec = json.loads(os.environ.pop("SPARK_LAB_RANK"))
    if "files" in spec:
        ray_logs.redirect(spec["files"])
    name = title(spec)
    set_process_name(name)
    set_title(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return Rank(spec).run()
    except OSError as error:
        out(vllm_line("Worker", "worker_base.py:1", f"{error}", "ERROR"))
        return 1


if __name__ == "__main__":
    sys.exit(main())
