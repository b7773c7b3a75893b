"""A user-mode kernel's management console: one datagram there, one or more back."""

from __future__ import annotations

import secrets
import socket
import struct
from pathlib import Path

from spark_cluster.core.error import LabError

_MAGIC = 0xCAFEBABE
_VERSION = 2
_REQUEST = struct.Struct("=III512s")
_REPLY = struct.Struct("=III")


class ConsoleError(LabError):
    """A user-mode kernel refused a command, or does not listen."""


def request(command: str) -> bytes:
    text = command.encode()
    return _REQUEST.pack(_MAGIC, _VERSION, len(text), text)


def reply(datagram: bytes) -> tuple[bool, bool, str]:
    """Whether the command failed, whether more of the answer follows, and this part's text."""
    failed, more, length = _REPLY.unpack_from(datagram)
    text = datagram[_REPLY.size : _REPLY.size + length]
    return bool(failed), bool(more), text.decode(errors="replace").rstrip("\0\n")


def ask(console: Path, command: str, *, limit: float = 10.0) -> str:
    """Run a command of the management console and return what it said."""
    mine = console.parent.parent / f"{secrets.token_hex(4)}.mc"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(limit)
        try:
            channel.bind(str(mine))  # the kernel answers to a name, and is in another namespace
            channel.sendto(request(command), str(console))
            said = ""
            while True:
                failed, more, text = reply(channel.recv(4096))
                said += text
                if not more:
                    break
        except (OSError, struct.error) as error:
            raise ConsoleError(
                f"the node's management console does not answer: {error}",
                remedy="see `spark-cluster lab status`; `spark-cluster lab up` starts dead nodes",
            ) from error
        finally:
            mine.unlink(missing_ok=True)
    if failed:
        raise ConsoleError(
            f"the node's kernel refused {command.split()[0]}: {said}",
            remedy="`spark-cluster lab down` and `up` start from a clean state",
        )
    return said
