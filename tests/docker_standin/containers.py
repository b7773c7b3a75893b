"""Containers as folders below $DOCKER_STANDIN: what they are and what they have printed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("DOCKER_STANDIN", "."))

#: A log's line as docker keeps it.
_STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) ")


class Refused(Exception):
    """What docker prints before it exits with 1."""


class Container:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec: dict[str, Any] = json.loads((folder / "spec.json").read_text())
        self.name = str(self.spec["name"])
        self.id = str(self.spec.get("id") or hashlib.sha256(str(folder).encode()).hexdigest())
        self.image = str(self.spec.get("image", "image"))

    def read(self, name: str, default: str = "") -> str:
        path = self.folder / name
        return path.read_text(errors="replace").strip() if path.exists() else default

    @property
    def is_running(self) -> bool:
        return bool(self.read("pid")) and not self.read("exit")

    @property
    def state(self) -> str:
        return "running" if self.is_running else "exited"

    @property
    def pids(self) -> list[int]:
        """What runs inside, in the numbers of the host."""
        if not self.is_running:
            return []
        found = []
        with contextlib.suppress(OSError):
            own = Path(f"/proc/{self.read('pid')}/ns/pid").readlink()
            for entry in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if (entry / "ns/pid").readlink() == own:
                        found.append(int(entry.name))
        return sorted(found)

    def record(self) -> dict[str, Any]:
        """What `inspect` tells."""
        env = {**self.spec.get("env", {})}
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Image": f"sha256:{hashlib.sha256(self.image.encode()).hexdigest()}",
            "RestartCount": 0,
            "State": {
                "Status": self.state,
                "Running": self.is_running,
                "Pid": int(self.read("pid", "0")) if self.is_running else 0,
                "ExitCode": int(self.read("exit", "0")),
                "StartedAt": self.read("started", "2026-11-21T03:15:42.123456789Z"),
                "FinishedAt": self.read("finished", "0001-01-01T00:00:00Z"),
                "OOMKilled": False,
            },
            "Config": {
                "Image": self.image,
                "Labels": self.spec["labels"],
                "Env": [f"{key}={value}" for key, value in env.items()],
                "Cmd": self.spec.get("command", []),
            },
        }

    def row(self) -> dict[str, Any]:
        """What `ps` tells."""
        code = self.read("exit", "0")
        status = "Up" if self.is_running else f"Exited ({code})"
        return {
            "ID": self.id[:12],
            "Names": self.name,
            "Image": self.image,
            "State": self.state,
            "Status": status,
            "Labels": self.spec["labels"],
        }

    def lines(self) -> list[tuple[str, str]]:
        """The log: each line with its time, empty if the log tells none."""
        path = self.folder / "log"
        text = path.read_bytes().decode(errors="replace") if path.exists() else ""
        found = []
        for line in text.split("\n")[: None if text and not text.endswith("\n") else -1]:
            stamp = _STAMPED.match(line)
            found.append((stamp[1], line[stamp.end() :]) if stamp else ("", line))
        return found


def everything() -> list[Container]:
    return [Container(path.parent) for path in sorted(ROOT.glob("*/spec.json"))]


def find(name: str) -> Container:
    for each in everything():
        if name in (each.name, each.id) or (len(name) >= 12 and each.id.startswith(name)):
            return each
    raise Refused(f"Error response from daemon: No such container: {name}")


def wanted(container: Container, filters: Sequence[str]) -> bool:
    for entry in filters:
        kind, _, wanted = entry.partition("=")
        key, has_value, value = wanted.partition("=")
        labels = container.spec["labels"]
        if kind == "label":
            fits = key in labels and (not has_value or labels[key] == value)
        elif kind == "name":
            fits = re.search(wanted, container.name) is not None
        elif kind == "status":
            fits = container.state == wanted
        else:
            raise Refused(f"invalid filter '{kind}'")
        if not fits:
            return False
    return True
