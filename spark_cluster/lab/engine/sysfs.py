"""Read what this container can see: RDMA ports in sysfs, interfaces with an IPv4 address."""

from __future__ import annotations

import os
import socket
import struct

from .nccl import Gid, Interface, Port

SIOCGIFADDR = 0x8915
SIOCGIFFLAGS = 0x8913
IFF_UP = 0x1


def _read(path: str) -> str:
    try:
        with open(path) as file:  # noqa: PTH123 - pathlib is slow to import
            return file.read().strip()
    except OSError:
        return ""


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))  # noqa: PTH208
    except OSError:
        return []


def _uverbs(sys: str, dev: str) -> dict[str, bool]:
    """RDMA device -> is its character file in this container, readable and writable?

    In the order of uverbsN, which is libibverbs' order and so that of NCCL's numbers.
    """
    found: dict[str, bool] = {}
    names = _names(f"{sys}/class/infiniband_verbs")
    for name in sorted(names, key=lambda item: (len(item), item)):
        device = _read(f"{sys}/class/infiniband_verbs/{name}/ibdev")
        if device:
            path = f"{dev}/infiniband/{name}"
            found[device] = os.access(path, os.R_OK | os.W_OK)
    return found


def _gids(port: str) -> tuple[Gid, ...]:
    found = []
    for name in _names(f"{port}/gids"):
        gid = _read(f"{port}/gids/{name}")
        # An empty slot: its attributes cannot be read (EINVAL).
        if not gid or not gid.replace("0", "").replace(":", ""):
            continue
        kind = _read(f"{port}/gid_attrs/types/{name}")
        ndev = _read(f"{port}/gid_attrs/ndevs/{name}")
        found.append(Gid(int(name), gid, kind, ndev))
    return tuple(sorted(found))


def rdma_ports(sys: str = "/sys", dev: str = "/dev") -> list[Port]:
    """Every port of every RDMA device, in the order of the PCI addresses that their names tell: so
    a Spark lists them, on each host alike. Soft devices are numbered as they happen to be made."""
    usable = _uverbs(sys, dev)
    names = _names(f"{sys}/class/infiniband")
    ports = []
    for device in sorted(names, key=lambda name: (len(name), name)):
        base = f"{sys}/class/infiniband/{device}/ports"
        for number in _names(base):
            port = f"{base}/{number}"
            ports.append(
                Port(
                    device=device,
                    port=int(number),
                    active=_read(f"{port}/state").endswith("ACTIVE"),
                    link_layer=_read(f"{port}/link_layer"),
                    usable=usable.get(device, False),
                    gids=_gids(port),
                )
            )
    return ports


def interfaces() -> list[Interface]:
    """Interfaces that are up and have an IPv4 address, in the kernel's order."""
    import fcntl

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                flags = fcntl.ioctl(sock, SIOCGIFFLAGS, request)
                answer = fcntl.ioctl(sock, SIOCGIFADDR, request)
            except OSError:
                continue
            if struct.unpack("H", flags[16:18])[0] & IFF_UP:
                found.append(Interface(name, socket.inet_ntoa(answer[20:24])))
    return found


def primary_ip() -> str:
    """vLLM's get_ip(): VLLM_HOST_IP, else the address of the default route."""
    wanted = os.environ.get("VLLM_HOST_IP", "")
    if wanted:
        return wanted
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("8.8.8.8", 80))
            return str(sock.getsockname()[0])
    except OSError:
        return "0.0.0.0"
