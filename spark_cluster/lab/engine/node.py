"""A Ray node: registers with the head, beats, and starts rank processes in its container."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time

from .logs import gpu_visible, out, ray_core_line
from .ray_logs import LogMonitor, new_id, session_folder
from .spawn import spawn_rank
from .wire import Json, Wire

BEAT = 2.0


def ray_folder() -> str:
    """/tmp/ray, or where RAY_TMPDIR says."""
    return f"{os.environ.get('RAY_TMPDIR') or '/tmp'}/ray"


def memory_kib() -> dict[str, int]:
    """MemTotal and MemAvailable of this machine."""
    found = {}
    with open("/proc/meminfo") as file:  # noqa: PTH123 - pathlib is slow to import
        for line in file:
            name, value = line.split(":")
            if name in ("MemTotal", "MemAvailable"):
                found[name] = int(value.split()[0])
    return found


def resources(options: Json, ip: str, head: bool) -> dict[str, float]:
    """What this node offers; a GPU count that was given is believed, as Ray does."""
    memory = memory_kib()
    available = memory.get("MemAvailable", 1 << 20) * 1024
    store = options.get("object_store_memory") or min(int(available * 0.3), 200_000_000_000)
    heap = options.get("memory") or max(0, available - int(store))
    gpus = options.get("num_gpus")
    if gpus is None:
        gpus = 1 if gpu_visible() else 0
    cpus = options.get("num_cpus")
    found: dict[str, float] = {
        "CPU": float(os.cpu_count() or 1) if cpus is None else float(cpus),
        "memory": float(heap),
        "object_store_memory": float(store),
        f"node:{ip}": 1.0,
    }
    if gpus:
        found["GPU"] = float(gpus)
    if head:
        found["node:__internal_head__"] = 1.0
    found.update({key: float(value) for key, value in options.get("resources", {}).items()})
    return {key: value for key, value in found.items() if value}


class RayNode:
    """One raylet. `run` returns the process's exit code."""

    def __init__(self, gcs: tuple[str, int], ip: str, head: bool, options: Json) -> None:
        self.gcs = gcs
        self.ip = ip
        self.session: str | None = None
        self.info: Json = {
            "node_id": new_id(),
            "ip": ip,
            "head": head,
            "hostname": socket.gethostname(),
            "name": options.get("node_name") or ip,
            "pid": os.getpid(),
            "start_ms": int(time.time() * 1000),
            "boot": _boot_time(),
            "resources": resources(options, ip, head),
            "stats": {},
        }
        self._wire: Wire | None = None
        self._ranks: dict[int, tuple[str, int]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def join(self, limit: float) -> str:
        """Register with the head; an empty string, or why not."""
        deadline = time.monotonic() + limit
        problem = ""
        warned = time.monotonic()
        while True:
            try:
                wire = Wire.connect(*self.gcs, limit=5.0)
                self.info["stats"] = stats()
                answer = wire.ask({"op": "register", "node": self.info, "session": self.session})
                if not answer.get("ok"):
                    return str(answer.get("error"))
                self.session = str(answer["session"])
                self._wire = wire
                return ""
            except OSError as error:
                problem = str(error)
                if time.monotonic() > deadline or self._stopping.is_set():
                    return problem
                if time.monotonic() > warned + 5.0:
                    warned = time.monotonic()
                    out(
                        ray_core_line(
                            "rpc_client.h:153",
                            "Failed to connect to GCS at address "
                            f"{self.gcs[0]}:{self.gcs[1]} within 5 seconds.",
                        )
                    )
                self._stopping.wait(1.0)

    def run(self) -> int:
        """Serve until told to stop (0) or until the head is lost for good (1)."""
        threading.Thread(target=self._beat, daemon=True).start()
        name = "RAY_gcs_rpc_server_reconnect_timeout_s"
        patience = float(os.environ.get(name) or 60)
        while not self._stopping.is_set():
            wire = self._wire
            while wire is not None and (message := wire.recv()) is not None:
                self._obey(message)
            if self._stopping.is_set():
                break
            problem = self.join(patience)
            if problem and not self._stopping.is_set():
                self._end_ranks()
                out(ray_core_line("raylet.cc:1", f"lost the GCS: {problem}", "E"))
                return 1
        self._end_ranks()
        return 0

    def stop(self) -> None:
        """Leave the cluster in order: ranks first, then a word to the head."""
        self._stopping.set()
        self._end_ranks()
        self._send({"op": "leave"})
        if self._wire:
            self._wire.close()

    def _beat(self) -> None:
        while not self._stopping.wait(BEAT):
            self._send({"op": "beat", "stats": stats()})

    # -- rank processes ---------------------------------------------------------------------

    def _obey(self, message: Json) -> None:
        if message.get("op") == "run":
            self._start_rank(message)
        elif message.get("op") == "kill":
            self._end_ranks(str(message["job"]))

    def _start_rank(self, order: Json) -> None:
        job, rank = str(order["job"]), int(order["spec"]["rank"])
        files = {
            "folder": session_folder(ray_folder(), str(self.session)),
            "worker_id": new_id(),
            "job_id": order["job_id"],
            "actor": order["spec"]["actor"],
        }
        pid = spawn_rank(order["env"], {**order["spec"], "files": files})
        with self._lock:
            self._ranks[pid] = (job, rank)
        self._tell(job, rank, "started", pid=pid, reason="")
        monitor = LogMonitor(files, pid, lambda lines: self._tell(job, rank, "log", **lines))
        threading.Thread(target=self._reap, args=(pid, job, rank, monitor), daemon=True).start()

    def _reap(self, pid: int, job: str, rank: int, monitor: LogMonitor) -> None:
        _, status = os.waitpid(pid, 0)
        monitor.end()
        with self._lock:
            self._ranks.pop(pid, None)
        code = os.waitstatus_to_exitcode(status)
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._tell(job, rank, "exit", pid=pid, reason=reason)

    def _tell(self, job: str, rank: int, what: str, **more: object) -> None:
        about = {"job": job, "rank": rank, "what": what, "ip": self.ip}
        self._send({"op": "rank_event", **about, **more})

    def _send(self, message: Json) -> None:
        """To the head; lost while there is none."""
        if self._wire:
            with contextlib.suppress(OSError):
                self._wire.send(message)

    def _end_ranks(self, job: str = "") -> None:
        """SIGTERM, and SIGKILL for those that do not listen."""
        for number, limit in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            with self._lock:
                pids = [p for p, (owner, _) in self._ranks.items() if not job or owner == job]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + limit
            while time.monotonic() < deadline:
                with self._lock:
                    if not any(pid in self._ranks for pid in pids):
                        break
                time.sleep(0.05)
            else:
                continue
            return


def stats() -> Json:
    """The few numbers that the dashboard shows."""
    memory = memory_kib()
    return {
        "mem_total": memory.get("MemTotal", 0) * 1024,
        "mem_available": memory.get("MemAvailable", 0) * 1024,
        "load": list(os.getloadavg()),
        "now": time.time(),
    }


def _boot_time() -> float:
    with open("/proc/uptime") as file:  # noqa: PTH123
        return float(int(time.time() - float(file.read().split()[0])))
