"""A container image from node to node: `save` on the one that has it, `load` on the others.

docker save and docker load are one pipe each and slower than one stream of the fabric, so that
there is one stream, and no file in between.

On the wire: the token, then pieces with their length before them; length 0 ends a whole image.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from spark_cluster.transfer.node import files
from spark_cluster.transfer.node.files import CHUNK, Failed, report
from spark_cluster.transfer.node.streams import connect, fill, receive, serve

_LENGTH = struct.Struct("!I")
_DOCKER = Path("/var/lib/docker")


def save(image: str, addresses: list[str], token: str) -> None:
    """Serve the image to whoever knows the token until the end of the process."""

    def handle(stream: socket.socket) -> None:
        stream.settimeout(None)  # docker load takes its time over a layer
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as docker:
            assert docker.stdout is not None
            try:
                while piece := docker.stdout.read(CHUNK):
                    stream.sendall(_LENGTH.pack(len(piece)) + piece)
                if docker.wait() == 0:
                    stream.sendall(_LENGTH.pack(0))
            finally:
                docker.kill()

    serve(addresses, token, _DOCKER, handle)


def load(peer: list[Any], token: str, through: str | None, total: int) -> None:
    """Load the image that the peer saves. `total` is its size as docker tells it, for progress."""
    stream = connect(peer, token, through)
    stream.settimeout(None)
    usage = files.Usage(_DOCKER)
    began = time.monotonic()
    moved = 0
    spent = {"receive": 0.0, "write": 0.0}
    files.every_second(lambda: {"bytes": moved, "total": total})
    with tempfile.TemporaryFile() as said:
        docker = subprocess.Popen(
            ["docker", "load"], stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT
        )
        assert docker.stdin is not None
        whole = refused = False
        buffer = memoryview(bytearray(CHUNK))
        try:
            while True:
                at = time.monotonic()
                head = receive(stream, _LENGTH.size)
                length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else None
                if not length or fill(stream, buffer[:length]) < length:
                    whole = length == 0
                    break
                now = time.monotonic()
                docker.stdin.write(buffer[:length])
                moved += length
                spent["receive"] += now - at
                spent["write"] += time.monotonic() - now
        except BrokenPipeError:
            refused = True
        if not whole:
            docker.kill()
        with contextlib.suppress(BrokenPipeError):
            docker.stdin.close()
        status = docker.wait()
        said.seek(0)
        last = files.last_lines(said.read()) or "no word"
    if refused or (whole and status):
        raise Failed("docker", f"docker load: {last}")
    if not whole:
        raise Failed("network", "the image broke off: docker save failed, or the connection did")
    seconds = time.monotonic() - began
    done = {"received": moved, "seconds": seconds, "spent": spent, "usage": usage.so_far()}
    report(done=done)


if __name__ == "__main__":
    files.main({"save": save, "load": load})
