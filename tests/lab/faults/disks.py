"""What the hosts start from: the lab's base image, and a docker that has the engine's image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from spark_cluster.lab import image, layers, sources
from tests.lab.faults.hosts import racked

_IMPORT = f"""\
docker import --change 'ENV NVIDIA_VISIBLE_DEVICES=all' --change 'CMD ["/bin/bash"]' \
  /var/lib/docker/engine.tar {image.ENGINE_IMAGE} >/dev/null || exit 1
rm /var/lib/docker/engine.tar
systemctl stop docker.socket docker containerd
rm -f /var/lib/docker/engine-id
echo imported
"""


def ensure() -> tuple[image.Base, Path]:
    """The base and docker's folder, from the cache; built there if it is the first time."""
    mirror = sources.this_machine()
    base = image.ensure_base(mirror, print)

    def build(work: Path) -> None:
        with racked(base, None, work / "rack") as rack:
            host = next(iter(rack.hosts.values()))
            image.write_container_tar(base.engine, host.folder / "docker/engine.tar")
            if "imported" not in host.on(_IMPORT, seconds=300):
                raise RuntimeError("docker did not take the engine's image")
            subprocess.run(["cp", "-a", host.folder / "docker", work / "docker"], check=True)

    key = layers.digest(base.key, image.programs_key())
    folder = layers.layer("faults", key, build, print)
    for old in layers.root().glob("faults-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return base, folder / "docker"
