"""The pair of hosts with the program in front of it: what all phases do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spark_cluster.inventory.models import Inventory
from spark_cluster.monitoring.ports import WATCHER
from spark_cluster.serving import api

from . import program, settings, tiny_vl
from .hosts import HEAD, NAMES, WORKER, Host
from .place import PORT
from .program import Said, Watching
from .record import Record

_PAGES = {
    "metrics.txt": f"http://127.0.0.1:{PORT}/metrics",
    "models.json": f"http://127.0.0.1:{PORT}/v1/models",
    "health.txt": f"http://127.0.0.1:{PORT}/health",
    "version.json": f"http://127.0.0.1:{PORT}/version",
    "ray-nodes.json": "http://127.0.0.1:8265/api/v0/nodes?limit=100",
    "ray-actors.json": "http://127.0.0.1:8265/api/v0/actors?limit=100",
}

#: Of Ray's many files those in which something stands that docker's log lacks.
_RAY_FILES = re.compile(r"worker-|python-core|ray_process_exit|raylet\.|gcs_server\.(out|err)")


class Pair:
    """`folder` is this worker's own."""

    def __init__(
        self, hosts: dict[str, Host], inventory: Inventory, record: Record, folder: Path
    ) -> None:
        self.hosts = hosts
        self.inventory = inventory
        self.record = record
        self.folder = folder

    @property
    def head(self) -> Host:
        return self.hosts[HEAD]

    @property
    def worker(self) -> Host:
        return self.hosts[WORKER]

    # The program

    def run(self, *words: str, seconds: float = 120) -> Said:
        """`spark-cluster WORDS`; what it said is kept."""
        said = program.run(self.folder, *words, seconds=seconds)
        self.record.keep(f"{words[0]}.txt", f"{said}\n({said.seconds:.1f} s)\n")
        return said

    def launch(self, recipe: str, *options: str, seconds: float = 400) -> Said:
        """To its end, whatever that is; then all logs are kept."""
        try:
            return self.run("launch", recipe, "--anyway", "--json", *options, seconds=seconds)
        finally:
            self.grab()

    def teardown(self) -> None:
        """Unless the time is over: then the hosts themselves are about to go."""
        if time.time() < settings.until() - 20:
            self.run("teardown", "--json", seconds=120)

    def watch(self, *words: str, patience: str) -> Watching:
        words = (*words, "--listen", f"127.0.0.1:{WATCHER + settings.worker_number()}")
        self.record.keep("watch-begins.txt", f"watch {' '.join(words)} (patience {patience})\n")
        log = self.record.place(f"watch-{time.monotonic_ns()}.txt")
        return Watching(self.folder, log, *words, patience=patience)

    @contextlib.contextmanager
    def watching(self, *words: str, patience: str) -> Iterator[Watching]:
        found = self.watch(*words, patience=patience)
        try:
            yield found
        finally:
            found.end()

    def evidence(self) -> dict[str, str]:
        """The archive's texts by path, of `spark-cluster evidence`."""
        path = self.record.place(f"evidence-{time.monotonic_ns()}.tar.gz")
        said = self.run("evidence", "--json", "--output", str(path), seconds=150)
        assert said.code == 0, said
        found = {}
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    found[member.name.partition("/")[2]] = file.read().decode(errors="replace")
        return found

    # The server

    def ask(self, script: str, seconds: float = 60) -> str:
        return self.head.run(script, seconds + 20)

    def canary(self, seconds: float) -> api.Completion:
        return api.parse_completion(
            self.ask(api.canary_script(PORT, tiny_vl.NAME, timeout=seconds), seconds)
        )

    @contextlib.contextmanager
    def load(self, clients: int = 2) -> Iterator[None]:
        """Clients that ask again and again; it begins when their requests run."""
        text = api.generate_script(PORT, tiny_vl.NAME, 2_000_000, timeout=600, chunk=20_000)
        script = self.folder / "load.sh"
        script.write_text(text)
        running = [
            subprocess.Popen(
                [*self.head.enter, "sh", str(script)], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )
            for _ in range(clients)
        ]  # fmt: skip
        try:
            self.eventually(lambda: self.running_requests() >= clients, 60, "the requests run")
            yield
        finally:
            for each in running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(each.pid, signal.SIGKILL)
                each.wait()

    def running_requests(self) -> float:
        page = self.ask(f"curl -s --noproxy '*' -m 5 {_PAGES['metrics.txt']} </dev/null", 5)
        found = re.search(r"^vllm:num_requests_running\{.*\} ([0-9.e+]+)$", page, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def rank_pids(self, host: Host) -> list[int]:
        """Who computes on the host's GPU, by the driver."""
        said = host.run("nvidia-smi --query-compute-apps=pid --format=csv,noheader")
        found = [int(word) for word in said.split() if word.isdigit()]
        found = found or host.pids("VLLM::Worker") or host.pids("ray::RayWorker")
        assert found, f"no rank runs on {host.name}: {said}"
        return found

    def signal_rank(self, host: Host, number: signal.Signals) -> list[int]:
        pids = self.rank_pids(host)
        for pid in pids:
            os.kill(pid, number)
        self.record.keep("signal.txt", f"{number.name} to {pids} on {host.name}\n")
        return pids

    def eventually(self, true: Callable[[], object], seconds: float, what: str) -> None:
        deadline = time.time() + seconds
        while not true():
            if time.time() > settings.until():
                pytest.skip(f"the time was over before: {what}")
            assert time.time() < deadline, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.5)

    # What is kept

    def grab(self) -> None:
        """What a person would collect: logs, also Ray's own, the GPU, the server's pages."""
        for name in NAMES:
            host = self.hosts[name]
            self.record.keep(f"{name}-nvidia-smi.txt", host.run("nvidia-smi 2>&1; nvidia-smi -q"))
            for folder in sorted(host.containers.glob("*/")):
                self._grab_container(host, folder)
        for name, url in _PAGES.items():
            page = self.ask(f"curl -s -i --noproxy '*' -m 5 {url!r} </dev/null", 5)
            if page.strip():
                self.record.keep(name, page)

    def _grab_container(self, host: Host, folder: Path) -> None:
        name = f"{host.name}-{folder.name}"
        self.record.keep(f"{name}.log", host.run(f"docker logs {folder.name} 2>&1"))
        states = {each: (folder / each).read_text() for each in ("started", "exit", "finished")
                  if (folder / each).exists()}  # fmt: skip
        top = host.run(f"docker top {folder.name} -o pid,args")
        self.record.keep(f"{name}-state.txt", f"{json.dumps(states)}\n{top}")
        pid = (folder / "pid").read_text() if (folder / "pid").exists() else ""
        for file in sorted(Path(f"/proc/{pid}/root/tmp/ray").glob("session_2*/logs/*")):
            with contextlib.suppress(OSError):
                if _RAY_FILES.match(file.name) and file.is_file() and file.stat().st_size:
                    text = file.read_text(errors="replace")
                    self.record.keep(f"{name}-{file.name}", text[-200_000:])
