"""Two Sparks without a machine each: namespaces for network, mounts, processes, IPC and host name.

A node shares with this machine the file system and the kernel, and with its peer a veth pair in
place of each rail. It has no name outside: it ends with its first process, and that one with ours,
so that nothing is left behind however a test ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from spark_cluster.inventory.models import Host

from .sshd_server import children

#: Its own sysfs (it shows the namespace's interfaces), shared memory and temporary files. Then
#: process 1 does what an init does: reap orphans.
_BOOT = """\
set -e
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs "$2"
echo "$1" >/proc/sys/kernel/hostname
echo up
exec "$3" -c 'import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True: signal.pause()'
"""

_UNSHARE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"),
    "--mount-proc",
)


def why_not() -> str:
    """Why this machine cannot make a node; empty if it can."""
    missing = [name for name in ("setpriv", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        return f"no {missing[0]} on this machine (apt install util-linux)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    tried = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, timeout=30)
    return f"no namespaces here: {tried.stderr.strip()[:200]}" if tried.returncode else ""


class Node:
    """One namespaced host. `environment` is what its processes start with, and nothing else;
    `enter` are the words that put a command into it. `scratch` is an empty folder: over it each
    node has its own temporary files, in memory."""

    def __init__(self, name: str, scratch: str) -> None:
        self.name = name
        self.environment = {"PATH": os.defpath, "TMPDIR": scratch}
        self._outer = subprocess.Popen(
            [*_UNSHARE, "sh", "-c", _BOOT, "sh", name, scratch, sys.executable],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._outer.stdout and self._outer.stderr
        if self._outer.stdout.readline().strip() != "up":
            self._outer.kill()
            raise RuntimeError(f"no node {name}: {self._outer.stderr.read()}")
        (self.pid,) = children(self._outer.pid)

    @property
    def enter(self) -> list[str]:
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return ["nsenter", "--target", str(self.pid), "--all", "--", "env", "-i", *variables]

    def start(self, command: Sequence[str], env: Mapping[str, str], log: IO[bytes] | int) -> None:
        """A command in the background, with more variables, its output in `log`."""
        variables = [f"{name}={value}" for name, value in env.items()]
        subprocess.Popen(
            [*self.enter, *variables, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def processes(self) -> list[tuple[int, str]]:
        """What runs in the node besides its first process: this machine's pids, command lines."""
        found = []
        own = Path(f"/proc/{self.pid}/ns/pid").readlink()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "ns/pid").readlink() == own and int(folder.name) != self.pid:
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append((int(folder.name), command.decode(errors="replace").strip()))
        return found

    def stop(self) -> None:
        """End the first process; the kernel ends all others of the node with it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._outer.wait(30)
        for stream in (self._outer.stdout, self._outer.stderr):
            if stream:
                stream.close()


def connect(one: Node, other: Node, hosts: tuple[Host, Host]) -> None:
    """A veth pair for each pair of rails, with the rails' names, addresses and MTU."""
    from pyroute2 import IPRoute, NetNS  # Linux only; the skipped tests are imported everywhere

    with IPRoute() as kernel:
        for first, second in zip(hosts[0].rails, hosts[1].rails, strict=True):
            kernel.link(
                "add",
                kind="veth",
                ifname=first.interface,
                net_ns_pid=one.pid,
                peer={"ifname": second.interface, "net_ns_pid": other.pid},
            )
    for node, host in ((one, hosts[0]), (other, hosts[1])):
        with NetNS(f"/proc/{node.pid}/ns/net") as kernel:
            kernel.link("set", index=kernel.link_lookup(ifname="lo")[0], state="up")
            for rail in host.rails:
                (index,) = kernel.link_lookup(ifname=rail.interface)
                kernel.link("set", index=index, state="up", mtu=9000)
                kernel.addr("add", index=index, address=rail.ip, prefixlen=rail.network.prefixlen)


@contextlib.contextmanager
def pair(hosts: tuple[Host, Host]) -> Iterator[dict[str, Node]]:
    """Two connected nodes by their hosts' names."""
    with contextlib.ExitStack() as stack:
        # Short, for the path of a Unix socket ends at 107 bytes; the same on both, as /tmp is: a
        # worker of Ray takes the head's path.
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="node-", dir="/tmp"))
        nodes = {}
        for host in hosts:
            nodes[host.name] = Node(host.name, scratch)
            stack.callback(nodes[host.name].stop)
        connect(nodes[hosts[0].name], nodes[hosts[1].name], hosts)
        yield nodes
