"""The first process of a host of namespaces: listens where sshd would, and takes the host with it.

It ends when its standard input does, which the test run holds: however that ends, every process
of the host ends, too. The UTS namespace tells which: process numbers are those of this machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys


def processes() -> list[int]:
    """All of this host but this one."""
    own = os.readlink("/proc/self/ns/uts")  # noqa: PTH115 - `python -I` on a bare host
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{entry}/ns/uts") == own:  # noqa: PTH115
                found.append(int(entry))
    return [pid for pid in found if pid != os.getpid()]


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.create_server(("127.0.0.1", 22)):
        print("up", flush=True)
        sys.stdin.read()
    while left := processes():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
