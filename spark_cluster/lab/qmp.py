"""QEMU's monitor protocol: just enough of it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from spark_cluster.core.error import LabError

Json = Mapping[str, Any]


class QmpError(LabError):
    """QEMU refused a command."""


class Qmp:
    """One short conversation with one machine; QEMU serves one client at a time."""

    def __init__(self, path: Path, *, limit: float = 20.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(limit)
        try:
            self._socket.connect(str(path))
            self._file = self._socket.makefile("rwb", buffering=0)
            self._read()
            self.execute("qmp_capabilities")
        except OSError as error:
            self._socket.close()
            raise QmpError(
                f"the monitor at {path} does not answer: {error}",
                remedy="see `spark-cluster lab status`; `spark-cluster lab up` starts dead nodes",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def _read(self) -> Json:
        line = self._file.readline()
        if not line:
            raise OSError("the connection was closed")
        answer: Json = json.loads(line)
        return answer

    def execute(self, command: str, **arguments: object) -> Any:
        """Run one command and return its answer; events that come in between are dropped."""
        request = {"execute": command, "arguments": arguments}
        try:
            self._file.write(json.dumps(request).encode() + b"\n")
            while True:
                answer = self._read()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise QmpError(
                        f"QEMU refused {command}: {answer['error'].get('desc')}",
                        remedy="`spark-cluster lab down` and `up` start from a clean state",
                    )
        except OSError as error:
            if command == "quit":
                return None
            raise QmpError(
                f"the monitor went away during {command}: {error}",
                remedy="see `spark-cluster lab status`",
            ) from error

    def set_link(self, device: str, up: bool) -> None:
        self.execute("set_link", name=device, up=up)

    def save(self, target: Path, *, limit: float) -> None:
        """Write the device state of a stopped machine; its memory is in a file already."""
        self._ignore_shared_memory()
        self.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.execute("migrate", uri=f"exec:cat > '{target}'")
        self._wait_migrated(limit)

    def load(self, source: Path, *, limit: float) -> None:
        """Load what `save` wrote into a machine that was started with `-incoming defer`."""
        self._ignore_shared_memory()
        self.execute("migrate-incoming", uri=f"exec:cat '{source}'")
        self._wait_migrated(limit)

    def _ignore_shared_memory(self) -> None:
        capability = {"capability": "x-ignore-shared", "state": True}
        self.execute("migrate-set-capabilities", capabilities=[capability])

    def _wait_migrated(self, limit: float) -> None:
        deadline = time.monotonic() + limit
        while True:
            answer = self.execute("query-migrate")
            state = answer.get("status")
            if state == "completed":
                return
            if state in ("failed", "cancelled") or time.monotonic() > deadline:
                reason = answer.get("error-desc", state)
                raise QmpError(
                    f"the machine's saved state could not be moved: {reason}",
                    remedy="`spark-cluster lab up --fresh-boot` does without saved states",
                )
            time.sleep(0.05)


def quit_all(folder: Path) -> None:
    """End machines whose note is lost: they still listen in the folder they were started for."""
    for path in folder.glob("*.qmp"):
        with suppress(QmpError), Qmp(path, limit=3.0) as monitor:
            monitor.execute("quit")
