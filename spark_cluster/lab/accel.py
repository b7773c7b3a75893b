"""How nodes can be run on this machine: KVM, user-mode Linux, emulation; found out by trying."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spark_cluster.core.error import LabError
from spark_cluster.lab import layers, process
from spark_cluster.lab.image import Base
from spark_cluster.lab.machine import CPU
from spark_cluster.lab.requirements import find_program
from spark_cluster.lab.uml import run as uml
from spark_cluster.lab.uml.kernel import Kernel

_ALIVE = "Run /"
"""What the kernel prints when it hands over to user space."""


def qemu() -> str:
    return find_program("qemu-system-x86_64") or "qemu-system-x86_64"


def qemu_version() -> str:
    done = subprocess.run([qemu(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


@dataclass(frozen=True)
class Way:
    """How nodes are run on this machine, and why so."""

    accel: str
    """`kvm`, `uml` or `tcg`."""
    why: str
    kernel: Kernel | None = None
    """The user-mode kernel, where nodes run on it."""


def choose(base: Base, wanted: str | None, kernel: Callable[[], Kernel]) -> Way:
    """KVM where it works, else user-mode Linux where it does, else emulation.

    `wanted` names the only one to take; `kernel` builds or waits for the user-mode kernel."""
    against = []
    if wanted in (None, "kvm"):
        refused = kvm_refusal(base)
        if not refused:
            return Way("kvm", "KVM works here")
        against.append(f"KVM: {refused}")
    if wanted in (None, "uml"):
        refused, found = uml_refusal(kernel)
        if found is not None:
            against.append(f"user-mode Linux {found.release} works here")
            return Way("uml", "; ".join(against), found)
        against.append(f"user-mode Linux: {refused}")
    if wanted in (None, "tcg"):
        return Way("tcg", "; ".join(against) or "emulation was asked for")
    raise LabError(
        "; ".join(against),
        remedy="leave --accel out, and the lab takes what works",
    )


def uml_refusal(kernel: Callable[[], Kernel]) -> tuple[str, Kernel | None]:
    """The user-mode kernel, or why nodes cannot run on one here."""
    if platform.machine() != "x86_64":
        return f"not on {platform.machine()}", None
    refused = uml.refusal()
    if refused:
        return f"no network namespace ({refused})", None
    try:
        return "", kernel()
    except LabError as error:
        return error.message, None


def kvm_is_open() -> bool:
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def kvm_known(base: Base) -> str | None:
    """What was found out since this machine started: `kvm`, or what is run instead."""
    known = layers.noted("kvm")
    return str(known.get("accel")) if known.get("key") == _key(base) else None


def kvm_refusal(base: Base) -> str:
    """Why KVM does not do here; empty if it does. A /dev/kvm that exists proves nothing, so a
    kernel must really start."""
    if not Path("/dev/kvm").exists():
        return "there is no /dev/kvm"
    if not kvm_is_open():
        return "/dev/kvm may not be opened"
    accel = kvm_known(base)
    if accel is None:
        accel = "kvm" if kvm_works(base.kernel, base.initrd) else "tcg"
        layers.note("kvm", {"key": _key(base), "accel": accel})
    return "" if accel == "kvm" else "a kernel does not start with this /dev/kvm"


def _key(base: Base) -> str:
    return layers.digest(process.boot_id(), qemu_version(), base.key, os.geteuid())


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
