"""A node's QEMU command line, as a pure function of what the node should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spark_cluster.lab.topology import INTERFACES, MANAGEMENT, Node

CPU = {"kvm": "host", "tcg": "Nehalem"}
"""Under TCG the plainest CPU is the fastest: every newer feature is emulated."""
_ACCEL = {"kvm": "kvm", "tcg": "tcg,thread=multi"}
API_PORT = 8000


@dataclass(frozen=True)
class Machine:
    node: Node
    accel: str
    memory_mib: int
    kernel: Path
    initrd: Path
    disk: Path
    sockets: Path
    """Short, because a Unix socket's path must fit in 108 bytes."""
    console: Path
    ssh_port: int
    api_port: int
    ram: Path | None = None
    """A file that holds the memory: shared when it is to be saved, private when restored."""
    ram_shared: bool = False
    incoming: bool = False
    """Start as an empty shell, into which a saved state is then loaded."""
    extra_disks: tuple[Path, ...] = ()
    qemu: str = "qemu-system-x86_64"
    base_disk: Path | None = None
    """What a user-mode node's disk differs from; a QEMU disk knows that itself."""
    namespace: int = 0
    """The process in whose network namespace a user-mode node runs; 0: it has no network."""
    dark: tuple[str, ...] = ()
    """The interfaces without a cable."""
    init: str = ""
    """What a user-mode node runs instead of systemd."""

    @property
    def qmp(self) -> Path:
        return self.sockets / f"{self.node.number}.qmp"

    @property
    def agent(self) -> Path:
        return self.sockets / f"{self.node.number}.qga"


def identity(node: Node) -> tuple[str, ...]:
    """The words of a kernel's command line by which one image serves all nodes."""
    return (f"systemd.machine_id={node.machine_id}", f"spark.node={node.number}")


def kernel_arguments(node: Node, accel: str) -> str:
    """QEMU keeps translated code by its virtual address: with randomised addresses every new
    process is translated anew, and an SSH login takes three times as long."""
    fixed = "norandmaps " if accel == "tcg" else ""
    return (
        f"{fixed}"
        "root=/dev/vda rw console=ttyS0 quiet mitigations=off audit=0 fsck.mode=skip "
        f"random.trust_cpu=on {' '.join(identity(node))}"
    )


def nic(node: Node, interface: str) -> str:
    """Without the option ROM, which only a network boot would use and which costs seconds."""
    slot = INTERFACES.index(interface) + 8
    return (
        f"virtio-net-pci,id={interface},netdev=n{INTERFACES.index(interface)},"
        f"mac={node.mac(interface)},addr={slot:#x},romfile="
    )


def hub(interface: str) -> int:
    """Every NIC sits on a hub of its own, into which cables are plugged while it runs."""
    return INTERFACES.index(interface)


def command(machine: Machine) -> list[str]:
    node = machine.node
    form = "qcow2" if machine.disk.suffix == ".qcow2" else "raw"
    words = [
        machine.qemu,
        *("-name", node.name),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "pc,usb=off,vmport=off,smm=off,memory-backend=ram"),
        *("-accel", _ACCEL[machine.accel]),
        *("-cpu", CPU[machine.accel]),
        *("-smp", "1"),
        *("-m", f"{machine.memory_mib}M"),
        *("-object", _memory(machine)),
        *("-kernel", str(machine.kernel)),
        *("-initrd", str(machine.initrd)),
        *("-append", kernel_arguments(node, machine.accel)),
        *("-qmp", f"unix:{machine.qmp},server=on,wait=off"),
        *("-serial", f"file:{machine.console}"),
        *("-chardev", f"socket,id=agent,path={machine.agent},server=on,wait=off"),
        *("-device", "virtio-serial-pci,addr=0x3"),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *("-device", "virtio-rng-pci,addr=0x4"),
        *("-drive", f"file={machine.disk},if=none,id=disk,format={form},cache=unsafe"),
        *("-device", "virtio-blk-pci,drive=disk,addr=0x5"),
    ]
    for i, path in enumerate(machine.extra_disks):
        words += ["-drive", f"file={path},if=none,id=extra{i},format=raw,readonly=on"]
        words += ["-device", f"virtio-blk-pci,drive=extra{i},addr={0x10 + i:#x}"]
    for interface in INTERFACES:
        words += ["-netdev", _backend(machine, interface), "-device", nic(node, interface)]
    if machine.incoming:
        words += ["-incoming", "defer"]
    return [*words, "-S"]


def _memory(machine: Machine) -> str:
    size = f"id=ram,size={machine.memory_mib}M"
    if machine.ram is None:
        return f"memory-backend-ram,{size}"
    share = "on" if machine.ram_shared else "off"
    return f"memory-backend-file,{size},mem-path={machine.ram},share={share}"


def _backend(machine: Machine, interface: str) -> str:
    ident = f"id=n{INTERFACES.index(interface)}"
    if interface != MANAGEMENT:
        return f"hubport,{ident},hubid={hub(interface)}"
    forwards = ((machine.ssh_port, 22), (machine.api_port, API_PORT))
    return ",".join(
        [
            f"user,{ident},ipv6=off,restrict=on,net=10.7.7.0/24",
            f"dhcpstart={machine.node.wifi_address}",
            *(f"hostfwd=tcp:127.0.0.1:{port}-:{guest}" for port, guest in forwards),
        ]
    )
