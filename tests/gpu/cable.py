"""A cable between two network namespaces: a veth pair, or, where the kernel has none, a tun
interface in each and a process that carries the packets.

    python -I cable.py PID INTERFACE PID INTERFACE
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import sys
import threading

#: linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000

#: linux/sched.h
_CLONE_NEWNET = 0x40000000

#: More than any MTU of ours.
_PACKET = 65536


def open_tun(pid: str, interface: str) -> int:
    """A tun interface in the network namespace of `pid`, as a descriptor."""
    space = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None).setns(space, _CLONE_NEWNET) != 0:  # os.setns came with Python 3.12
        raise OSError(f"the network namespace of {pid} cannot be entered")
    os.close(space)
    tun = os.open("/dev/net/tun", os.O_RDWR)
    name = interface.encode()
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name, _IFF_TUN | _IFF_NO_PI))
    return tun


def carry(source: int, target: int) -> None:
    """Packets, one way, until this process ends; as a cable, it loses those that nobody takes."""
    while True:
        try:
            os.write(target, os.read(source, _PACKET))
        except OSError:
            continue


def main(words: list[str]) -> None:
    ends = [open_tun(*words[:2]), open_tun(*words[2:])]
    threading.Thread(target=carry, args=(ends[1], ends[0]), daemon=True).start()
    print("up", flush=True)
    threading.Thread(target=carry, args=(ends[0], ends[1]), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
