"""The one process of the lab's network namespace: it keeps the namespace alive while it lives.

It lays the cables, hands out the management network's addresses, carries this machine's loopback
ports to the nodes' SSH and API, and joins each node's serial line to whoever calls its agent.

    python -m spark_cluster.lab.uml.switchboard < specification.json

It was started in a new network namespace; the ports it listens on were opened outside of it.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_CHUNK = 1 << 16
_COOKIE = bytes((99, 130, 83, 99))
_REQUESTED, _LEASE, _KIND, _SERVER, _MASK = 50, 51, 53, 54, 1
_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x24)
"""ETHTOOL_STXCSUM, ETHTOOL_STSO and ETHTOOL_SGSO of <linux/ethtool.h>: sums, large sends."""
_DISCOVER, _OFFER, _REQUEST, _ACK, _NAK = 1, 2, 3, 5, 6


def options(packet: bytes) -> dict[int, bytes]:
    """The options of a DHCP packet."""
    found: dict[int, bytes] = {}
    at = packet.find(_COOKIE, 236) + len(_COOKIE)
    while at >= len(_COOKIE) and at + 1 < len(packet) and packet[at] != 255:
        if packet[at] == 0:
            at += 1
            continue
        length = packet[at + 1]
        found[packet[at]] = packet[at + 2 : at + 2 + length]
        at += 2 + length
    return found


def answer(packet: bytes, leases: dict[str, str], gateway: str) -> bytes | None:
    """What a DHCP server says to a packet: always the same address to the same card."""
    if len(packet) < 240 or packet[0] != 1:
        return None
    address = leases.get(packet[28:34].hex(":"))
    asked = options(packet)
    kind = asked.get(_KIND, b"\0")[0]
    if address is None or kind not in (_DISCOVER, _REQUEST):
        return None
    mine, server = socket.inet_aton(address), socket.inet_aton(gateway)
    wanted = asked.get(_REQUESTED, packet[12:16])
    said = _OFFER if kind == _DISCOVER else _ACK if wanted == mine else _NAK
    head = bytearray(packet[:236])
    head[0] = 2
    head[16:20] = mine if said != _NAK else bytes(4)
    head[20:24] = server
    text = _COOKIE + bytes((_KIND, 1, said, _SERVER, 4)) + server
    if said != _NAK:
        text += struct.pack("!BBI", _LEASE, 4, 86400) + bytes((_MASK, 4, 255, 255, 255, 0))
    return bytes(head) + text + b"\xff"


async def hand_out(ear: socket.socket, leases: dict[str, str], gateway: str) -> None:
    loop = asyncio.get_running_loop()
    while True:
        said = answer(await loop.sock_recv(ear, 1500), leases, gateway)
        if said:
            await loop.sock_sendto(ear, said, ("255.255.255.255", 68))


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Everything from one side to the other, its end too; a side that breaks off takes the other
    with it."""
    try:
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
    except OSError:
        target.close()


async def join(
    left: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    right: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    try:
        await asyncio.gather(copy(left[0], right[1]), copy(right[0], left[1]))
    finally:
        left[1].close()
        right[1].close()


async def forward(listening: socket.socket, host: str, port: int) -> None:
    """Carry connections that arrive outside to a node."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await join((reader, writer), far)

    await asyncio.start_server(carry, sock=listening)


class Line:
    """A node's serial line and the one who calls its agent over it."""

    def __init__(self) -> None:
        self._node: asyncio.StreamWriter | None = None
        self._caller: asyncio.StreamWriter | None = None
        self._turn = asyncio.Lock()

    async def plugged(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A node was started: what its agent says goes to the caller of the moment."""
        if self._node is not None:
            self._node.close()
        self._node = writer
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._caller is not None:
                    self._caller.write(data)
        if self._node is writer:
            self._node = None
            if self._caller is not None:
                self._caller.close()

    async def called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._turn:
            self._caller = writer
            with suppress(OSError):
                while self._node is not None and (data := await reader.read(_CHUNK)):
                    self._node.write(data)
            self._caller = None
            writer.close()


def lay_cables(lines: list[str]) -> None:
    for group in ("all", "default"):  # no word from this machine on the nodes' cables
        switch = Path(f"/proc/sys/net/ipv6/conf/{group}/disable_ipv6")
        if switch.exists():
            switch.write_text("1")
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    send_whole_frames("wifi")


def send_whole_frames(interface: str) -> None:
    """A frame must be complete when a node takes it: no larger than its buffer, with its sum."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        for command in _OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
            fcntl.ioctl(channel, _SIOCETHTOOL, request)


async def serve(given: dict[str, Any]) -> None:
    folder = Path(given["sockets"])
    lay_cables(given["links"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wifi")
        ear.bind(("0.0.0.0", 67))
        ear.setblocking(False)
        for number, host, port in given["forwards"]:
            await forward(socket.socket(fileno=number), host, port)
        for node in given["nodes"]:
            wire = Line()
            await asyncio.start_unix_server(wire.plugged, folder / f"{node}.line")
            await asyncio.start_unix_server(wire.called, folder / f"{node}.qga")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        await hand_out(ear, given["leases"], given["gateway"])


def main() -> None:
    asyncio.run(serve(json.load(sys.stdin)))


if __name__ == "__main__":
    main()
