"""Which apt packages the lab needs on this machine, and which of them are missing.

Runs under a bare python3, before any virtual environment exists:

    python3 -m spark_cluster.lab.requirements [--why]
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple


class AptPackage(NamedTuple):
    name: str
    why: str


_NEEDED: tuple[tuple[str, AptPackage], ...] = (
    ("qemu-system-x86_64", AptPackage("qemu-system-x86", "runs the lab's three virtual Sparks")),
    ("qemu-img", AptPackage("qemu-utils", "gives each virtual Spark a disk of its own")),
    ("debootstrap", AptPackage("debootstrap", "builds the disk image the Sparks start from")),
    ("mke2fs", AptPackage("e2fsprogs", "turns the built image into a file system")),
    ("ssh", AptPackage("openssh-client", "`lab ssh`, and the keys of the lab's nodes")),
)

_TO_COMPILE: tuple[tuple[str, AptPackage], ...] = (
    ("gcc", AptPackage("gcc", "compiles the Sparks' kernel where there is no KVM")),
    # gcc only recommends it, and a minimal system installs no recommendations.
    ("/usr/include/stdlib.h", AptPackage("libc6-dev", "what that kernel's tools compile against")),
    ("make", AptPackage("make", "compiles that kernel")),
    ("flex", AptPackage("flex", "reads that kernel's configuration")),
    ("bison", AptPackage("bison", "reads that kernel's configuration")),
    ("bc", AptPackage("bc", "computes a header of that kernel")),
    ("patch", AptPackage("patch", "gives that kernel cables that can be pulled")),
    ("xz", AptPackage("xz-utils", "unpacks that kernel's source")),
    ("bzip2", AptPackage("bzip2", "unpacks that kernel's source, as Ubuntu packs it")),
    ("depmod", AptPackage("kmod", "lists that kernel's modules")),
    ("ip", AptPackage("iproute2", "lays the cables between such Sparks")),
)

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def find_program(name: str) -> str | None:
    """Like `which`, and in the sbin folders too, which a user's PATH often lacks. A path is looked
    for as it is."""
    if name.startswith("/"):
        return name if Path(name).exists() else None
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_SBIN]))


def missing() -> list[AptPackage]:
    """The packages to install before `spark-cluster lab up`."""
    return [package for program, package in _NEEDED if find_program(program) is None]


def missing_to_compile() -> list[AptPackage]:
    """The packages to install before a user-mode kernel can be built and run."""
    return [package for program, package in _TO_COMPILE if find_program(program) is None]


def main(arguments: list[str]) -> int:
    for name, why in [*missing(), *missing_to_compile()]:
        sys.stdout.write(f"{name}  {why}\n" if "--why" in arguments else f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
