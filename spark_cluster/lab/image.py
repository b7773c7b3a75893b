"""The lab's image, in layers: the nodes' disk with the engine's system beside it, and both joined.

Each is cached by the hash of all that goes into it, so that a change to the engine's stand-in
does not install the nodes' packages again. Building needs root, as debootstrap does.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from spark_cluster.core.error import LabError
from spark_cluster.lab import layers, model, requirements, rootfs, subset
from spark_cluster.lab.layers import Say
from spark_cluster.lab.packages import (
    DISABLED_UNITS,
    ENGINE_PACKAGES,
    MASKED_UNITS,
    node_packages,
)
from spark_cluster.lab.phases import phase
from spark_cluster.lab.sources import Mirror

ENGINE = Path(__file__).parent / "engine"
ENGINE_IMAGE = "nvcr.io/nvidia/vllm:25.11-py3"
"""The name under which recipes ask for the engine: the product has no lab branch."""

OTHER_IMAGES = {
    "nvcr.io/nvidia/vllm:25.09-py3": "0.10.1",
    "nvcr.io/nvidia/vllm:26.05-py3": "0.20.1",
}
"""The same system under the names of NVIDIA's other releases, each with the vLLM that it plays."""

_PROGRAMS = ("ray", "vllm", "nvidia-smi")
_HOME = "opt/spark-lab"


@dataclass(frozen=True)
class Base:
    """A node's disk before its first boot, and what boots it."""

    folder: Path

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def engine(self) -> Path:
        """What the engine's container runs in, without the stand-in's programs, as a tar."""
        return self.folder / "engine.tar"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"


def base_key(mirror: Mirror) -> str:
    sources = [Path(module.__file__ or "").read_text() for module in (rootfs, subset, model)]
    packages = node_packages(mirror.distro), ENGINE_PACKAGES
    guest = layers.digest_tree(rootfs.GUEST)
    links = rootfs.link_files()
    return layers.digest(
        mirror.distro, mirror.suite, mirror.components, packages, guest, links, DISABLED_UNITS,
        MASKED_UNITS, sources,
    )  # fmt: skip


def programs_key() -> str:
    return layers.digest(layers.digest_tree(ENGINE), ENGINE_IMAGE, OTHER_IMAGES)


def ensure_base(mirror: Mirror, say: Say) -> Base:
    def build(work: Path) -> None:
        _need_root()
        log, root = work / "build.log", work / "root"
        with phase("nodes' disk", f"installs {mirror.suite} packages, only this once", say):
            rootfs.make_keys(work / "keys", log)
            rootfs.debootstrap(root, node_packages(mirror.distro), mirror, _debs(mirror), log)
            rootfs.slim(root)
            _write_system(root, work / "engine.tar")
            rootfs.populate(root, work / "keys", log)
            for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
                shutil.copyfile(sorted((root / "boot").glob(pattern))[-1], work / name)
            rootfs.make_disk(root, work / "disk.img", log)
            shutil.rmtree(root)

    return Base(layers.layer("base", base_key(mirror), build, say))


def _write_system(root: Path, target: Path) -> None:
    with tarfile.open(target, "w") as tar:
        for name in subset.paths(root, ENGINE_PACKAGES):
            tar.add(root / name, f"./{name}", recursive=False, filter=_without_devices)


def write_container_tar(system: Path, target: Path) -> None:
    """The container's system with the stand-in's programs in it."""
    shutil.copyfile(system, target)
    with tarfile.open(target, "a") as tar:
        for path in sorted(ENGINE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                _add(tar, f"./{_HOME}/{path.relative_to(ENGINE).as_posix()}", path)
        for name in _PROGRAMS:
            place = "bin" if name == "nvidia-smi" else "local/bin"
            link = tarfile.TarInfo(f"./usr/{place}/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, f"/{_HOME}/bin/{name}"
            tar.addfile(link)
        # Where the real image's Python keeps the file that recipes mount over: in Ubuntu 24.04 that
        # is its own Python's, and docker takes no path twice.
        folder = tarfile.TarInfo("./usr/lib/python3.12")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        if folder.name not in tar.getnames():
            tar.addfile(folder)


def write_host_tar(target: Path) -> None:
    """What of the stand-in a node itself has: nvidia-smi."""
    with tarfile.open(target, "w") as tar:
        _add(tar, "./usr/bin/nvidia-smi", ENGINE / "bin/nvidia-smi")


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    content = path.read_bytes()
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o755 if content.startswith(b"#!") else 0o644
    tar.addfile(info, io.BytesIO(content))


def _without_devices(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if info.isdev() else info


def _debs(mirror: Mirror) -> Path:
    return layers.root() / f"debs-{mirror.distro}-{mirror.suite}"


def _need_root() -> None:
    missing = requirements.missing()
    if missing:
        names = " ".join(package.name for package in missing)
        raise LabError(
            f"the lab needs programs that this machine lacks: {names}",
            remedy=f"sudo apt-get install --no-install-recommends {names}",
        )
    if os.geteuid() != 0:
        raise LabError(
            "building the lab's image needs root, because debootstrap does; running it does not",
            remedy="run it once as root with your cache: "
            "sudo XDG_CACHE_HOME=${XDG_CACHE_HOME:-$HOME/.cache} spark-cluster lab build",
        )
