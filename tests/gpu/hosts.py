"""Two hosts on this machine: namespaces for network, mounts, IPC and name, with a GPU each.

Unlike a node of the contract tests a host shares this machine's process numbers, for those are what
nvidia-smi tells. Its `docker` really runs what it is told to (tests/docker_standin.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spark_cluster.inventory.models import Host as Known
from spark_cluster.inventory.models import Inventory, Rail
from spark_cluster.lab.image import ENGINE as STANDIN
from tests import docker_standin
from tests.contract import systemctl_standin
from tests.lab.faults import played

from . import cable, holder, host_programs, image, settings

HEAD, WORKER = "spark-2", "spark-3"
NAMES = (HEAD, WORKER)

#: /sys/class in memory, where devices can be added; the links in it are relative, so that the real
#: one has to stand at the same depth.
_PLAY = """
mount --bind /sys/class /sys/firmware
mount -t tmpfs tmpfs /sys/class
for each in /sys/firmware/*; do ln -s "../firmware/${{each##*/}}" /sys/class/; done
rm -f /sys/class/infiniband
cp -a {tree} /sys/class/infiniband
mkdir -p /dev/infiniband
mknod -m 666 /dev/infiniband/rdma_cm c 1 3
"""
_UNPLAY = "umount /sys/class /sys/firmware; rm -r /dev/infiniband"

_BOOT = Path(__file__).with_name("host.sh")


@dataclass
class Host:
    """`pid` is its first process; `gpu` the number of the GPU that it sees, if any."""

    name: str
    gpu: int | None
    folder: Path
    pid: int = 0
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def containers(self) -> Path:
        return self.folder / "containers"

    @property
    def environment(self) -> dict[str, str]:
        """Of whoever logs in."""
        return {
            "PATH": f"{self.folder}/bin:{self.real_path}",
            "REAL_PATH": self.real_path,
            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "DOCKER_STANDIN": str(self.containers),
            "DOCKER_IMAGE": str(self.folder / "image.json"),
            # A container has a /proc of its own, where the driver's setting has to stand again.
            "DOCKER_MOUNTS": "/run/nvidia-params:/proc/driver/nvidia/params",
            "UNITS": str(self.folder / "units"),
            # A host has its GPU, also where this machine is a container itself.
            **({"NVIDIA_VISIBLE_DEVICES": "all"} if settings.is_standin() else {}),
        }

    @property
    def real_path(self) -> str:
        """Where its own programs lead to, in the end."""
        path = os.environ["PATH"]
        return f"{STANDIN / 'bin'}:{path}" if settings.is_standin() else path

    @property
    def enter(self) -> list[str]:
        """The words that put a command onto it."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        spaces = ("--mount", "--net", "--ipc", "--uts", "--wd=/")
        return ["nsenter", "--target", str(self.pid), *spaces, "--", "env", "-i", *variables]

    def start(self) -> None:
        self.containers.mkdir(parents=True)
        self._write_programs()
        gpu = "" if self.gpu is None else str(self.gpu)
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--ipc", "--uts", "sh", str(_BOOT), self.name, gpu,
             sys.executable, "-I", holder.__file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.pid = self._process.pid
        assert self._process.stdout and self._process.stderr
        if self._process.stdout.readline().strip() != "up":
            raise RuntimeError(f"no host {self.name}: {self._process.stderr.read()}")

    def tell_image(self) -> None:
        """The variables of every container's image; after the start, for they hang on what the
        host sees."""
        found = image.environment(self.folder.parent / "image")
        seen = self.run("nvidia-smi -L 2>/dev/null").count("GPU ")
        if self.gpu is not None and seen > 1:  # the device file alone does not hide the others
            found["CUDA_VISIBLE_DEVICES"] = str(self.gpu)
        (self.folder / "image.json").write_text(json.dumps(found))

    def _write_programs(self) -> None:
        ours = {"systemctl": systemctl_standin.__file__}
        for name in host_programs.PROGRAMS:
            if name not in host_programs.REPLACED_IF_MISSING or shutil.which(name) is None:
                ours[name] = f"{host_programs.__file__} {name}"
        ours |= {} if shutil.which("logger") else {"logger": "-c pass"}
        folder = self.folder / "bin"
        folder.mkdir()
        starts = {name: f"{sys.executable} -I {words}" for name, words in ours.items()}
        module = f"{sys.executable} -s -m {docker_standin.__name__}"
        starts["docker"] = f"env PYTHONPATH={settings.REPOSITORY} {module}"
        for name, words in starts.items():
            path = folder / name
            path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            path.chmod(0o755)

    def run(self, script: str, seconds: float = 40) -> str:
        """What a script prints on it, with its errors; what it printed so far if it hangs."""
        try:
            done = subprocess.run(
                [*self.enter, "sh", "-c", script], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            return (late.stdout or b"").decode(errors="replace") + f"\n(no end in {seconds} s)\n"
        return done.stdout.decode(errors="replace")

    def pids(self, title: str) -> list[int]:
        """Its processes whose command line holds `title`."""
        own = Path(f"/proc/{self.pid}/ns/uts").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if title in words and (entry / "ns/uts").readlink() == own:
                    found.append(int(entry.name))
        return sorted(found)

    @contextlib.contextmanager
    def rdma_played(self, rails: Sequence[Rail]) -> Iterator[None]:
        """Devices that are ACTIVE and carry nothing: a supervisor waits for its rails' devices.
        No library finds them, for they are not among the kernel's verbs."""
        tree = self.folder / "infiniband"
        for rail in rails:
            played.rdma_device(tree / rail.device, rail.interface, rail.address)
        said = self.run(f"set -e; {_PLAY.format(tree=tree)} echo played")
        assert said.strip().endswith("played"), said
        try:
            yield
        finally:
            self.run(_UNPLAY)

    def stop(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()
        self._process.stderr.close()


def pair(inventory: Inventory, folder: Path) -> contextlib.AbstractContextManager[dict[str, Host]]:
    """Two connected hosts by name, in an empty folder."""
    return _pair([inventory.hosts[name] for name in NAMES], folder)


@contextlib.contextmanager
def _pair(known: list[Known], folder: Path) -> Iterator[dict[str, Host]]:
    shutil.rmtree(folder, ignore_errors=True)
    image.write_programs(folder / "image")
    with contextlib.ExitStack() as stack:
        found: dict[str, Host] = {}
        for rank, host in enumerate(known):
            found[host.name] = Host(host.name, settings.gpu_of(rank), folder / host.name)
            stack.callback(found[host.name].stop)
            found[host.name].start()
        one, other = found.values()
        _connect(one, other, known, stack)
        for each in found.values():
            each.tell_image()
        (folder / "hosts.json").write_text(json.dumps(_ways(found)))
        yield found


def _ways(found: Mapping[str, Host]) -> dict[str, list[str]]:
    """How the program gets onto each host (controller/sitecustomize.py)."""
    return {name: host.enter for name, host in found.items()}


def _connect(one: Host, other: Host, known: list[Known], stack: contextlib.ExitStack) -> None:
    from pyroute2 import IPRoute, NetNS  # Linux only; the skipped tests are imported everywhere

    with IPRoute() as kernel:
        for first, second in zip(known[0].rails, known[1].rails, strict=True):
            peer = {"ifname": second.interface, "net_ns_pid": other.pid}
            try:
                kernel.link(
                    "add", kind="veth", ifname=first.interface, net_ns_pid=one.pid, peer=peer
                )
            except Exception:  # pyroute2 names a missing kind in several ways
                _tunnel(one, first.interface, other, second.interface, stack)
    for host, its in ((one, known[0]), (other, known[1])):
        with NetNS(f"/proc/{host.pid}/ns/net") as kernel:
            kernel.link("set", index=kernel.link_lookup(ifname="lo")[0], state="up")
            for rail in its.rails:
                (index,) = kernel.link_lookup(ifname=rail.interface)
                kernel.link("set", index=index, state="up", mtu=rail.mtu)
                kernel.addr("add", index=index, address=rail.ip, prefixlen=rail.network.prefixlen)


def _tunnel(one: Host, here: str, other: Host, there: str, stack: contextlib.ExitStack) -> None:
    process = subprocess.Popen(
        [sys.executable, "-I", cable.__file__, str(one.pid), here, str(other.pid), there],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    stack.callback(process.wait, 10)
    stack.callback(process.kill)
    assert process.stdout
    if process.stdout.readline().strip() != b"up":
        raise RuntimeError(f"neither a veth pair nor a tunnel from {here} to {there}")
