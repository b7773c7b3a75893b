"""A host in a folder, on which the supervisor of `launch --restart-at-boot` really runs: by a real
sh, on an address of the loopback. docker, ip and ping are programs of the test's own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spark_cluster.steps import supervisor

from . import world
from .cases import write

ADDRESSES = {"spark-2": "127.0.0.1", "spark-3": "127.0.0.2"}

#: One container, whose state is the file `container`: running, started, exit code, run.
DOCKER = """\
cd "$ROOT"
echo "$*" >> docker.log
[ ! -e silent ] || { echo "Cannot connect to the Docker daemon" >&2; exit 1; }
case "$*" in
  "container inspect"*)
    [ -e container ] || { echo "Error response from daemon: No such container: x" >&2; exit 1; }
    cat container ;;
  start*)
    [ ! -e refuses ] || { echo "Error response from daemon: no GPU" >&2; exit 1; }
    rm -f server
    echo "true $(cat /proc/sys/kernel/random/uuid) 0 $(cut -d' ' -f4 container)" > container.new
    mv container.new container ;;
  stop*)
    echo "false $(cut -d' ' -f2 container) 137 $(cut -d' ' -f4 container)" > container.new
    mv container.new container ;;
  top*)
    echo "1 ray start"
    [ ! -e server ] || echo "7 vllm serve X" ;;
  *"ray status"*) cat ray ;;
  "exec --detach"*) touch server ;;
  *) exit 64 ;;
esac
"""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class Rank:
    """A host in a folder, and its supervisor while it runs."""

    def __init__(self, root: Path, host: str, port: int, recipe: str, swap: str = "off") -> None:
        self.root, self.host = root, host
        self.process: subprocess.Popen[bytes] | None = None
        write(root / "sys/rocep1s0f1/ports/1/state", "4: ACTIVE\n")
        write(root / "dev/rdma_cm", "")
        write(root / "proc/swaps", "Filename\tType\tSize\n/swap.img file 8 0 -2\n")
        write(root / "vm/drop_caches", "")
        self.becomes("true", "first", 0, world.RUN)
        write(root / "ray", " 1 node_a\n 1 node_b\n")
        write(root / "address", "192.168.100.10/24 192.168.100.11/24\n")
        self.program("docker", DOCKER)
        self.program("ip", 'echo "inet $(cat "$ROOT/address") scope"\n')
        self.program("ping", '[ ! -e "$ROOT/cut" ]\n')
        self.program("swapoff", 'echo "swapoff $*" >> "$ROOT/docker.log"\n')
        self.program("sync", ":\n")
        self.program("setpriv", 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n')
        self.program("python3", f'exec {sys.executable} "$@"\n')
        script = supervisor.script(world.view(host, recipe=recipe), port=port, swap=swap)
        self.script = write(root / "rank", self.here(script))

    def program(self, name: str, text: str) -> None:
        write(self.root / "bin" / name, f"#!/bin/sh\n{text}").chmod(0o755)

    def here(self, script: str) -> str:
        """The script in this folder, on the loopback, and in a hurry."""
        places = {
            "/run/spark-cluster-rank": "run",
            "/run/spark-cluster/before": "before",
            "/sys/class/infiniband": "sys",
            "/dev/infiniband": "dev",
            "/proc/swaps": "proc/swaps",
            "/proc/sys/vm": "vm",
        }
        for place, name in places.items():
            assert place in script
            script = script.replace(place, str(self.root / name))
        for host, address in ADDRESSES.items():
            own = world.deployment().addresses[host]
            script = re.sub(rf"^((?:OWN|HEAD|OTHERS)=.*){own}$", rf"\g<1>{address}", script,
                            flags=re.M)  # fmt: skip
        for name, value in (("EVERY", 0.1), ("PATIENCE", 8), ("FIRST_PAUSE", 1)):
            script = re.sub(rf"^{name}=.*$", f"{name}={value}", script, flags=re.M)
        return script

    def boot(self) -> None:
        """Start the supervisor, as systemd does."""
        with (self.root / "journal").open("ab") as journal:
            self.process = subprocess.Popen(
                ["/bin/sh", self.script],
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
                start_new_session=True,
                env={"PATH": f"{self.root}/bin:/usr/bin:/bin", "ROOT": str(self.root)},
            )

    def halt(self) -> None:
        """End it with all that it started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def crash(self) -> None:
        """The power goes: the container is ended, and what lay in memory is gone."""
        self.halt()
        _, started, _, run = self.container
        self.becomes("false", started, 255, run)
        shutil.rmtree(self.root / "run")
        (self.root / "before").unlink(missing_ok=True)
        (self.root / "docker.log").unlink(missing_ok=True)

    def end(self, status: int = 1) -> None:
        """The container ends by itself."""
        _, started, _, run = self.container
        self.becomes("false", started, status, run)

    def becomes(self, *words: str | int) -> None:
        """The container is now this: running, started, exit code, run; at once, for docker reads
        it all the time."""
        new = write(self.root / "container.new", " ".join(map(str, words)) + "\n")
        new.rename(self.root / "container")

    @property
    def container(self) -> list[str]:
        return (self.root / "container").read_text().split()

    @property
    def is_up(self) -> bool:
        return self.container[0] == "true" and self.says == "runs"

    def told(self, name: str) -> str:
        path = self.root / name
        return path.read_text().strip() if path.exists() else ""

    @property
    def says(self) -> str:
        return self.told("run/says")

    @property
    def epoch(self) -> str:
        return self.told("run/state").partition(" ")[2]

    @property
    def journal(self) -> str:
        return self.told("journal")

    def did(self, verb: str) -> int:
        """How often docker was told to."""
        return sum(line.startswith(verb) for line in self.told("docker.log").splitlines())

    @property
    def turns(self) -> int:
        return self.did("container inspect")

    def turn(self, count: int = 3) -> None:
        """Let some turns of it go by."""
        before = self.turns
        wait_for(lambda: self.turns >= before + count, f"{count} turns of {self.host}")
