"""KVM where it works, TCG where it does not: found out once by a short boot."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from spark_cluster.lab import layers, process
from spark_cluster.lab.image import Base
from spark_cluster.lab.machine import CPU
from spark_cluster.lab.requirements import find_program

_ALIVE = "Run /"
"""What the kernel prints when it hands over to user space."""


def qemu() -> str:
    return find_program("qemu-system-x86_64") or "qemu-system-x86_64"


def qemu_version() -> str:
    done = subprocess.run([qemu(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def choose(base: Base) -> str:
    """`kvm` or `tcg`. A /dev/kvm that exists proves nothing, so a kernel must really start."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    note = layers.root() / "kvm.json"
    key = layers.digest(process.boot_id(), qemu_version(), base.key, os.geteuid())
    with suppress(OSError, ValueError, KeyError):
        known = json.loads(note.read_text())
        if known["key"] == key:
            return str(known["accel"])
    accel = "kvm" if kvm_works(base.kernel, base.initrd) else "tcg"
    note.write_text(json.dumps({"key": key, "accel": accel}))
    return accel


def kvm_works(kernel: Path, initrd: Path, *, limit: float = 15.0) -> bool:
    """Boot the nodes' own kernel until it starts its first program."""
    words = [
        *(qemu(), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "pc,usb=off", "-accel", "kvm", "-cpu", CPU["kvm"], "-m", "512M"),
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", "console=ttyS0 panic=-1 rdinit=/nothing init=/nothing"),
    ]
    with tempfile.TemporaryDirectory(prefix="spark-lab-") as folder:
        console = Path(folder) / "console"
        console.touch()
        child = subprocess.Popen(
            [*words, "-serial", f"file:{console}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + limit
            while time.monotonic() < deadline:
                ended = child.poll() is not None
                text = console.read_text(errors="replace")
                if _ALIVE in text or "Kernel panic" in text:
                    return True
                if ended:
                    return False
                time.sleep(0.1)
            return False
        finally:
            child.kill()
            child.wait()
