"""The image joined: the nodes' disk with the engine's image in its docker.

Docker itself must put it there. A user-mode kernel does that with dockerd alone, in seconds; else
a whole node is booted and thrown away.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from spark_cluster.core.error import LabError
from spark_cluster.lab import accel, image, layers, nodes, vm
from spark_cluster.lab.accel import Way
from spark_cluster.lab.agent import Agent
from spark_cluster.lab.image import ENGINE_IMAGE, OTHER_IMAGES, Base
from spark_cluster.lab.layers import Say
from spark_cluster.lab.machine import Machine
from spark_cluster.lab.phases import phase
from spark_cluster.lab.qmp import Qmp
from spark_cluster.lab.topology import Node
from spark_cluster.lab.uml import run as uml

_MEMORY_MIB = 2048

_NAME_AGAIN = "".join(
    f"docker commit --change 'ENV SPARK_LAB_VLLM_VERSION={version}' $container {name}\n"
    for name, version in OTHER_IMAGES.items()
)

_DONE = "spark-lab: joined"


def _script(container: str, host: str) -> str:
    """To run on the disk as root, with a docker; the devices hold a tar each."""
    return f"""
docker import --change 'ENV NVIDIA_VISIBLE_DEVICES=all' --change 'CMD ["/bin/bash"]' \
    - {ENGINE_IMAGE} < {container}
container=$(docker create {ENGINE_IMAGE})
{_NAME_AGAIN}docker rm $container
tar -xf {host} -C /
[ -e /swap.img ] || fallocate -l 96M /swap.img
chmod 600 /swap.img
mkswap /swap.img
"""


_FORGET = """
rm -f /var/lib/docker/engine-id /etc/hostname
rm -f /var/lib/NetworkManager/*.lease /var/lib/NetworkManager/secret_key
: > /etc/machine-id
sync
"""

_IN_NODE = f"""
set -e
{_script("/dev/vdb", "/dev/vdc")}
systemctl stop docker.socket docker containerd
{_FORGET}
echo u > /proc/sysrq-trigger
"""

_ALONE = f"""
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
dockerd --bridge=none --iptables=false --ip6tables=false > /run/dockerd.log 2>&1 &
daemon=$!
(
    set -e
    for i in $(seq 300); do [ -S /run/docker.sock ] && break; sleep 0.1; done
    {_script("/dev/ubdb", "/dev/ubdc")}
)
[ $? = 0 ] || {{ cat /run/dockerd.log; daemon=; }}
[ -z "$daemon" ] || {{
    kill $daemon
    wait $daemon
    {_FORGET}
    mount -o remount,ro / && echo '{_DONE}'
}}
echo o > /proc/sysrq-trigger
sleep 60
"""
"""Instead of systemd: the kernel ends when this does. `set -e` would mean nothing before `||`."""


@dataclass(frozen=True)
class Image:
    """All that nodes are started from."""

    base: Base
    disk: Path
    """The node's disk with the engine's image in Docker."""

    @property
    def key(self) -> str:
        return self.disk.parent.name


def key(base: Base) -> str:
    parts = (_script("", ""), _FORGET, "raw")
    return layers.digest(base.key, image.programs_key(), parts)


def ensure(base: Base, way: Way, say: Say) -> Image:
    """The image from the cache, or joined now in the way that nodes run here."""

    def build(work: Path) -> None:
        image.write_container_tar(base.engine, work / "container.tar")
        image.write_host_tar(work / "host.tar")
        disk = work / "disk.img"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", base.disk, disk], check=True)
        if way.kernel is not None:
            with phase("engine's image", "goes into docker's store on the disk", say):
                _join_alone(way.kernel.program, work, disk)
        else:
            with phase("engine's image", "goes into docker, in a node that is thrown away", say):
                _join_in_node(base, way.accel, work, disk, say)
        for name in ("container.tar", "host.tar"):
            (work / name).unlink()

    return Image(base, layers.layer("node", key(base), build, say) / "disk.img")


def _join_alone(kernel: Path, work: Path, disk: Path) -> None:
    program = work / "join.sh"
    text = _ALONE.encode()
    program.write_bytes(text + b"\n" * (-len(text) % 512))  # a disk has whole sectors
    machine = Machine(
        node=Node(0),
        accel="uml",
        memory_mib=_MEMORY_MIB,
        kernel=kernel,
        initrd=kernel,
        disk=disk,
        sockets=work,
        console=work / "console.log",
        ssh_port=0,
        api_port=0,
        extra_disks=(work / "container.tar", work / "host.tar", program),
        init="/bin/sh -- /dev/ubdd",
    )
    uml.run_to_end(machine, work / "kernel.log", limit=300)
    said = machine.console.read_text(errors="replace")
    if _DONE not in said:
        raise LabError(
            "the engine's image could not be loaded",
            stderr=said.strip()[-800:],
            remedy="try again, or with `--accel tcg`; then look at lab/engine",
        )
    for left in (program, *work.glob("n0*")):
        layers.remove(left)


def _join_in_node(base: Base, kind: str, work: Path, disk: Path, say: Say) -> None:
    machine = Machine(
        node=Node(0),
        accel=kind,
        memory_mib=_MEMORY_MIB,
        kernel=base.kernel,
        initrd=base.initrd,
        disk=disk,
        sockets=work,
        console=work / "console.log",
        ssh_port=vm.free_port(),
        api_port=vm.free_port(),
        extra_disks=(work / "container.tar", work / "host.tar"),
        qemu=accel.qemu(),
    )
    running = vm.start(machine, work / "qemu.log")
    try:
        with Qmp(machine.qmp) as monitor:
            monitor.execute("cont")
        nodes.wait_ready([machine], say)
        answer = Agent(machine.agent).run(_IN_NODE, limit=nodes.BOOT_LIMIT)
        if answer.code:
            raise LabError(
                "the engine's image could not be loaded",
                stderr=answer.err.strip()[-800:],
                remedy="try again; then look at lab/engine",
            )
    finally:
        vm.stop(running, machine)
