"""Two Sparks at native speed: the lab's own disk, booted by the real systemd in namespaces.

The disk of a host is an overlay over the lab's base image, its changes in memory of a fixed size:
it outlives the host's processes as a disk outlives a power cut (what the kernel had not written yet
is not lost, though: that takes a virtual machine). Everything belongs to one process, the rack, in
whose mount namespace all is mounted: when that ends, the kernel takes everything back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spark_cluster.lab import image
from spark_cluster.lab.topology import DEVICES, ETHERNET, MANAGEMENT
from tests.contract.sshd_server import children
from tests.lab.faults import played
from tests.lab.faults.spaces import ALIVE, Space, eventually, output

NAMES = ("spark-2", "spark-3")
RAILS = ("enp1s0f1np1", "enP2p1s0f1np1")
ADDRESSES = {
    "spark-2": {RAILS[0]: "192.168.100.10/24", RAILS[1]: "192.168.101.10/24"},
    "spark-3": {RAILS[0]: "192.168.100.11/24", RAILS[1]: "192.168.101.11/24"},
}
LINKS = {"spark-2": "192.168.102.11/24", "spark-3": "192.168.102.12/24"}
DISK_MIB = 128

_BOOT = Path(__file__).with_name("boot.sh")


class Rack:
    """Where the hosts are: a mount namespace with their disks, a network namespace with the
    controller's ends of their management cables."""

    def __init__(self, base: image.Base, docker: Path | None, scratch: Path) -> None:
        self.base, self.docker, self.scratch = base, docker, scratch
        scratch.mkdir()
        self.space = Space("--mount", "--net")
        # A host dies with the thread that started it (PR_SET_PDEATHSIG): it must be one that stays.
        self.starter = ThreadPoolExecutor(max_workers=1)
        self.hosts: dict[str, Host] = {}
        self.space.run(
            f"mount --make-rprivate / && mkdir {scratch}/lower {scratch}/cgroup && "
            f"mount -o loop,ro,noload {base.disk} {scratch}/lower && "
            f"mount -t cgroup2 cgroup2 {scratch}/cgroup && ip link set lo up && "
            # Of suites that were killed: nothing is in them.
            f"find {scratch}/cgroup -depth -type d -path '*/spark-faults-*' "
            f"-exec rmdir {{}} + 2>/dev/null; true"
        )

    @property
    def network(self) -> list[str]:
        """The words that put a program into the controller's network; it keeps its pid."""
        return ["nsenter", f"--net=/proc/{self.space.pid}/ns/net", "--"]

    def fill(self) -> None:
        """Two hosts, cabled."""
        for number, name in enumerate(NAMES, start=2):
            self.hosts[name] = Host(self, name, number)
        one, other = self.hosts.values()
        for interface in (*RAILS, ETHERNET):
            one.cable(interface, other.wires, interface)

    def start(self) -> None:
        """All hosts that are off, at once."""
        starting = [host for host in self.hosts.values() if not host.is_on]
        for host in starting:
            host.switch_on()
        for host in starting:
            host.await_ready()

    def renew(self) -> None:
        """The hosts as on their first day."""
        for host in self.hosts.values():
            host.cut()
            host.wipe()
        self.start()

    def stop(self) -> None:
        for host in self.hosts.values():
            host.cut()
            host.leave()
        self.space.end()
        self.starter.shutdown()
        shutil.rmtree(self.scratch, ignore_errors=True)


class Host:
    """One host. `cut` takes its power; its disk stays until `wipe`."""

    def __init__(self, rack: Rack, name: str, number: int) -> None:
        self.rack, self.name = rack, name
        self.folder = rack.scratch / name
        self.address = f"10.7.{number}.2"
        self.pid = 0
        self._running: subprocess.Popen[str] | None = None
        self._cgroup = f"{rack.scratch}/cgroup/spark-faults-{os.getpid()}-{name}"
        self.wires = Space("--net")
        self.cable(MANAGEMENT, rack.space, f"m{number}")
        rack.space.run(f"ip link set m{number} up && ip addr add 10.7.{number}.1/24 dev m{number}")
        rack.space.run(f"mkdir {self.folder} {self._cgroup} {self.folder}/docker")
        if rack.docker:
            output(["cp", "-a", "--reflink=auto", f"{rack.docker}/.", f"{self.folder}/docker"])
        for interface, address in ADDRESSES[name].items():
            device = self.folder / "infiniband" / DEVICES[interface]
            played.rdma_device(device, interface, address)
        (self.folder / "meminfo").write_text(played.MEMINFO)
        self.wipe()

    @property
    def disk(self) -> Path:
        """What is written on it, over the image that it started with, seen from outside."""
        return Path(f"/proc/{self.rack.space.pid}/root{self.folder}/disk/upper")

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.rack.space.pid}/root{self.folder}/root")

    @property
    def image(self) -> Path:
        """What it started with."""
        return Path(f"/proc/{self.rack.space.pid}/root{self.rack.scratch}/lower")

    @property
    def is_on(self) -> bool:
        return self._running is not None

    def wipe(self) -> None:
        """A new disk. Docker's own place keeps the image: nothing of ours may be in there."""
        self.rack.space.run(
            f"cd {self.folder} && {{ umount root disk 2>/dev/null; mkdir -p root disk; }} && "
            f"mount -t tmpfs -o size={DISK_MIB}m tmpfs disk && mkdir disk/upper disk/work && "
            f"mount -t overlay overlay root "
            f"-o lowerdir={self.rack.scratch}/lower,upperdir=disk/upper,workdir=disk/work"
        )
        host_key = (self.rack.base.keys / self.name).read_text()
        wifi = played.WIFI.format(interface=MANAGEMENT, address=self.address)
        for path, text, mode in (
            ("usr/sbin/swapon", played.SWAP, 0o755),
            ("usr/sbin/swapoff", played.SWAP, 0o755),
            ("usr/sbin/modprobe", played.MODPROBE, 0o755),
            ("usr/bin/udevadm", played.UDEVADM, 0o755),
            ("usr/bin/nvidia-smi", (image.ENGINE / "bin/nvidia-smi").read_text(), 0o755),
            ("usr/local/sbin/runc", played.RUNC, 0o755),
            ("usr/local/sbin/date", played.DATE, 0o755),
            ("etc/hostname", f"{self.name}\n", 0o644),
            ("etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n", 0o644),
            ("etc/ssh/ssh_host_ed25519_key", host_key, 0o600),
            ("etc/NetworkManager/system-connections/wifi.nmconnection", wifi, 0o600),
        ):
            file = self.root / path
            file.unlink(missing_ok=True)
            file.write_text(text)
            file.chmod(mode)
        (self.root / "var/lib/docker").mkdir(exist_ok=True)

    def cable(self, here: str, other: Space, there: str) -> None:
        """A veth pair between this host and another network namespace."""
        self.wires.run(
            f"ip link add {here} type veth peer name plug && ip link set plug netns {other.pid}"
        )
        other.run(f"ip link set plug name {there}")

    def switch_on(self) -> None:
        """Does not wait: see `await_ready`. The network is as after any power cut."""
        assert self._running is None
        self.wires.run(
            "for i in $(ip -o link | cut -d: -f2 | cut -d@ -f1); do "
            "case $i in docker*) ip link del $i; continue ;; esac; "
            "ip addr flush dev $i; ip link set $i down; ip link set $i mtu 1500; "
            "echo 0 > /proc/sys/net/ipv6/conf/$i/disable_ipv6; done 2>/dev/null; true"
        )
        boot = (
            f"echo $$ > {self._cgroup}/cgroup.procs && exec nsenter "
            f"--net=/proc/{self.wires.pid}/ns/net -- unshare --mount --pid --ipc --uts --cgroup "
            f"--fork --kill-child sh {_BOOT} {self.folder} {self.name}"
        )
        enter = ["nsenter", "-t", str(self.rack.space.pid), "--mount", "--"]
        self._running = self.rack.starter.submit(
            lambda: subprocess.Popen(
                [*ALIVE, *enter, "sh", "-c", boot], text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )
        ).result()  # fmt: skip

    def await_ready(self, seconds: float = 60) -> None:
        eventually(self._booted, seconds, f"{self.name} is up")
        eventually(self._answers, seconds, f"sshd of {self.name} answers")

    def _booted(self) -> bool:
        running = self._running
        assert running is not None and running.stderr is not None
        if running.poll() is not None:
            raise RuntimeError(f"{self.name} did not start: {running.stderr.read()}")
        below = children(running.pid)
        if not below:
            return False
        self.pid = below[0]
        said = self.on("systemctl is-system-running; systemctl is-active ssh docker").split()
        return said[:1] in (["running"], ["degraded"]) and said[1:] == ["active", "active"]

    def _answers(self) -> bool:
        ask = f"head -c 4 < /dev/tcp/{self.address}/22"
        words = [*self.rack.network, "timeout", "1", "bash", "-c", ask]
        return subprocess.run(words, capture_output=True, check=False).stdout == b"SSH-"

    def cut(self) -> None:
        """The power is gone: everything on the host ends at once."""
        running, self._running, self.pid = self._running, None, 0
        if running is None:
            return
        assert running.stderr
        with contextlib.suppress(ProcessLookupError):
            for pid in children(running.pid)[:1]:
                os.kill(pid, signal.SIGKILL)
        running.kill()
        running.wait(30)
        running.stderr.close()
        names = " ".join((MANAGEMENT, ETHERNET, *RAILS))
        self.wires.run(f"for i in {names}; do ip link set $i down; done; true")

    def leave(self) -> None:
        self.wires.end()
        cgroup = Path(f"/proc/{self.rack.space.pid}/root{self._cgroup}")

        def gone() -> bool:
            with contextlib.suppress(OSError):
                for folder, _, _ in os.walk(cgroup, topdown=False):
                    Path(folder).rmdir()
            return not cgroup.exists()

        with contextlib.suppress(TimeoutError):
            eventually(gone, 10, "the control group is empty")

    def on(self, script: str, *, seconds: float = 30) -> str:
        """The other way in: run a script as root on the host, without SSH; what it printed."""
        words = ["nsenter", "-t", str(self.pid), "--all", "--", "env", "-i"]
        done = subprocess.run(
            [*words, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", script],
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        return done.stdout


@contextlib.contextmanager
def racked(base: image.Base, docker: Path | None, scratch: Path) -> Iterator[Rack]:
    """A rack with two hosts that run; all gone afterwards."""
    rack = Rack(base, docker, scratch)
    try:
        rack.fill()
        rack.start()
        yield rack
    finally:
        rack.stop()
