"""Streams between nodes: TCP connections that begin with a token, or the same inside SSH."""

from __future__ import annotations

import contextlib
import hmac
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spark_cluster.transfer.node import files
from spark_cluster.transfer.node.files import Failed

#: Hexadecimal digits of the token, new for every copy; it reaches both sides over our SSH.
TOKEN_BYTES = 64
#: Seconds without a byte after which a stream is given up.
SILENCE = 60.0

#: Answers the right token.
_WELCOME = b"+"


def serve(
    addresses: list[str], token: str, folder: Path, handle: Callable[[socket.socket], None]
) -> None:
    """Hand every connection that knows the token to `handle`, in a thread of its own, until the end
    of the process.

    Reports the addresses and ports first, then every second what the node has done, the disk of
    `folder` among it. Raises Failed when an address is not this node's.
    """
    usage = files.Usage(folder)
    try:
        listeners = [socket.create_server((address, 0), backlog=64) for address in addresses]
    except OSError as error:
        raise Failed("address", f"cannot listen on {', '.join(addresses)}: {error}") from None

    def greet(stream: socket.socket) -> None:
        with stream, contextlib.suppress(OSError):
            stream.settimeout(SILENCE)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hmac.compare_digest(receive(stream, TOKEN_BYTES), token.encode()):
                stream.sendall(_WELCOME)
                handle(stream)

    def accept(listener: socket.socket) -> None:
        while True:
            stream, _ = listener.accept()
            threading.Thread(target=greet, args=(stream,), daemon=True).start()

    for listener in listeners:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
    files.report(ready=[listener.getsockname()[:2] for listener in listeners])
    files.every_second(lambda: {"usage": usage.so_far()})
    threading.Event().wait()


def receive(stream: socket.socket, count: int) -> bytes:
    """Exactly `count` bytes; fewer only when the other side has ended."""
    data = bytearray(count)
    return bytes(data[: fill(stream, memoryview(data))])


def connect(peer: list[Any], token: str, through: str | None) -> socket.socket:
    """A stream to a server, over TCP or `through` SSH to that host. Raises Failed."""
    where = f"{peer[0]} port {peer[1]}" + (f" through ssh to {through}" if through else "")
    ssh, why = None, "it closed the connection"
    try:
        if through:
            stream, ssh = _through_ssh(peer, through)
        else:
            stream = socket.create_connection((peer[0], peer[1]), 20)
        stream.settimeout(SILENCE)
        stream.sendall(token.encode())
        if receive(stream, len(_WELCOME)) == _WELCOME:
            return stream
        stream.close()
    except OSError as error:
        why = str(error)
    if ssh is not None:
        why = _last_words(ssh) or why
    raise Failed("network", f"no connection to {where}: {why}")


def _through_ssh(peer: list[Any], through: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    command = ["ssh", "-o", "BatchMode=yes", "-W", f"{peer[0]}:{peer[1]}", through]
    with theirs:
        end = theirs.fileno()
        process = subprocess.Popen(
            command, stdin=end, stdout=end, stderr=subprocess.PIPE, **files.as_user()
        )
    return ours, process


def _last_words(ssh: subprocess.Popen[bytes]) -> str:
    ssh.terminate()
    return files.last_lines(ssh.communicate()[1])


def fill(stream: socket.socket, buffer: memoryview) -> int:
    """Fill the buffer; the count of bytes, fewer only at the end."""
    got = 0
    while got < len(buffer):
        count = stream.recv_into(buffer[got:])
        if not count:
            break
        got += count
    return got
