"""Commands in a guest that do not need its network: over a virtio port, by QEMU's guest agent.

Faults and readiness checks go this way, so that they work when SSH is what was broken.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spark_cluster.core.error import LabError


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


class AgentSilent(LabError):
    """The guest agent does not answer (yet)."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the node's agent does not answer: {reason}",
            remedy="see the node's console log, named by `spark-cluster lab status`",
        )


class Agent:
    """Each call is a connection of its own: a frozen guest must not hold anybody up."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def run(self, script: str, *, limit: float = 30.0) -> Answer:
        """Run a shell script as root and return what it said."""
        deadline = time.monotonic() + limit
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            try:
                channel.settimeout(min(limit, 10.0))
                channel.connect(str(self._path))
                self._sync(channel, deadline)
                pid = _call(
                    channel,
                    "guest-exec",
                    {"path": "/bin/sh", "arg": ["-c", script], "capture-output": True},
                )["pid"]
                while True:
                    state = _call(channel, "guest-exec-status", {"pid": pid})
                    if state["exited"]:
                        return Answer(
                            int(state.get("exitcode", 128 + int(state.get("signal", 0)))),
                            _text(state, "out-data"),
                            _text(state, "err-data"),
                        )
                    if time.monotonic() > deadline:
                        raise AgentSilent(f"a command still runs after {limit:.0f} s")
                    time.sleep(0.1)
            except (OSError, ValueError) as error:
                raise AgentSilent(str(error)) from error

    def _sync(self, channel: socket.socket, deadline: float) -> None:
        """Drop answers that an earlier client did not wait for."""
        token = secrets.randbelow(1 << 31)
        request = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
        channel.sendall(b"\xff" + json.dumps(request).encode() + b"\n")
        seen = b""
        while time.monotonic() < deadline:
            part = channel.recv(4096)
            if not part:
                break
            seen += part
            tail = seen.rpartition(b"\xff")[2]
            if tail.endswith(b"\n") and f'"return": {token}'.encode() in tail:
                return
        raise AgentSilent("no answer to the greeting")


def _call(channel: socket.socket, command: str, arguments: dict[str, object]) -> Any:
    channel.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
    seen = b""
    while not seen.endswith(b"\n"):
        part = channel.recv(65536)
        if not part:
            raise OSError("the connection was closed")
        seen += part
    answer = json.loads(seen)
    if "error" in answer:
        raise AgentSilent(str(answer["error"].get("desc")))
    return answer["return"]


def _text(state: dict[str, Any], key: str) -> str:
    return base64.b64decode(state.get(key, "")).decode(errors="replace")
