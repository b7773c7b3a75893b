"""Pull a container image on this node by docker itself, or `size` it up before.

Over docker's API: its command line tells no bytes to a pipe. docker checks every layer, and a name
with a digest, itself; when this program ends, docker ends the pull.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from spark_cluster.transfer.node import files, registry
from spark_cluster.transfer.node.files import Failed, report

_SOCKET = "/var/run/docker.sock"
#: Seconds without a word from docker after which it is taken to hang: it tells of a layer's every
#: step, but unpacks a large one in silence.
_SILENCE = 600

#: What docker's message means for us, the first that fits: words of docker 20 to 29 and containerd.
_SIGNS = (
    ("image-space", ("no space left on device",)),
    ("digest", ("verification failed for digest", "failed size validation", "unexpected digest",
                "unexpected commit digest", "mismatched")),
    ("registry", ("dial tcp", "no such host", "connection refused", "connection reset", "timeout",
                  "tls:", "x509:", "unexpected eof", ": eof", "toomanyrequests", "503 ", "502 ")),
    ("no-image", ("not found", "unknown", "denied", "unauthorized", "no basic auth", "no match",
                  "invalid reference", "authentication required", "does not provide")),
)  # fmt: skip


class _Connection(http.client.HTTPConnection):
    """HTTP over docker's socket."""

    def connect(self) -> None:
        address = os.environ.get("DOCKER_HOST", "").removeprefix("unix://")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SILENCE)
        self.sock.connect(address if address.startswith("/") else _SOCKET)


def _ask(method: str, path: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    """Raises Failed if docker does not answer."""
    connection = _Connection("docker")
    try:
        connection.request(method, path, headers=headers or {})
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise Failed("docker", f"docker does not answer: {error}") from None


def _object(path: str) -> dict[str, Any]:
    """What docker knows of something; empty if it knows nothing."""
    with _ask("GET", path) as answer:
        said = json.loads(answer.read() or b"{}")
    return said if answer.status == 200 and isinstance(said, dict) else {}


class Layers:
    """Bytes of the layers that docker tells of, for a report each second. `expected` is their sum
    if the registry said it."""

    def __init__(self, expected: int = 0) -> None:
        self.expected = expected
        self.loaded: dict[str, int] = {}
        self.unpacked: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.loading: set[str] = set()

    @property
    def received(self) -> int:
        return sum(self.loaded.values())

    def told(self, said: dict[str, Any]) -> None:
        """A line of docker's."""
        layer, status = str(said.get("id", "")), said.get("status")
        detail = said.get("progressDetail") or {}
        now, size = int(detail.get("current") or 0), int(detail.get("total") or 0)
        if status in ("Pulling fs layer", "Waiting"):
            self.loading.add(layer)
        elif status == "Downloading":
            self.loading.add(layer)
            self.loaded[layer] = now
            self.sizes[layer] = max(size, self.sizes.get(layer, 0))
        elif status in ("Download complete", "Verifying Checksum"):
            self.loading.discard(layer)
            self.loaded[layer] = self.sizes.get(layer, self.loaded.get(layer, 0))
        elif status == "Extracting" and size:
            self.unpacked[layer] = now
        elif status in ("Pull complete", "Already exists"):
            self.loading.discard(layer)
            self.unpacked[layer] = self.sizes.get(layer, 0)

    def so_far(self) -> dict[str, Any]:
        total = max(self.expected, sum(self.sizes.values()))
        if self.loading or not self.loaded:
            return {"phase": "download", "bytes": self.received, "total": total}
        return {"phase": "unpack", "bytes": sum(self.unpacked.values()), "total": self.received}


def pull(image: str) -> None:
    """Pull an image. Reports progress, then what came; raises Failed."""
    report(phase="ask")
    expected = _expected(image)
    _need_room(expected)
    began = time.monotonic()
    layers = Layers(expected)
    files.every_second(layers.so_far)
    tag = {} if "@" in image or ":" in image.rpartition("/")[2] else {"tag": "latest"}
    path = "/images/create?" + urlencode({"fromImage": image, **tag})
    for said in _lines(image, _ask("POST", path, registry.docker_header(image))):
        if error := said.get("error"):
            raise _failed(image, str(error))
        layers.told(said)
    there = _object(f"/images/{quote(image, safe='/:@')}/json")
    if not there:
        raise Failed("digest", f"{image}: docker pulled something, which has not that name")
    digest = image.partition("@")[2]
    digests = [str(name).partition("@")[2] for name in there.get("RepoDigests") or ()]
    if digest and digest not in digests:
        raise Failed("digest", f"{image}: what came is {', '.join(digests) or 'without a digest'}")
    seconds = time.monotonic() - began
    report(done={"id": there["Id"], "digests": digests, "received": layers.received,
                 "size": there.get("Size", 0), "seconds": seconds})  # fmt: skip


def size(image: str) -> None:
    """Report the bytes that a pull would fetch, at most. Raises Failed."""
    report(done={"bytes": registry.layer_bytes(image)})


def _expected(image: str) -> int:
    """0 if it cannot be known: docker, which may know a mirror, has the last word."""
    try:
        return registry.layer_bytes(image)
    except Failed:
        return 0


def _need_room(size: int) -> None:
    """Raises Failed if not even the packed layers have room."""
    root = Path(str(_object("/info").get("DockerRootDir") or "/var/lib/docker"))
    if not size or not root.is_dir():
        return
    try:
        files.need_room(root, size)
    except Failed as failed:
        raise Failed("image-space", str(failed)) from None


def _lines(image: str, answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Each line that docker says. Raises Failed for a refusal, and when it breaks off."""
    with answer:
        if answer.status != 200:
            raise _failed(image, _message(answer.read()))
        try:
            for line in answer:
                said = json.loads(line)
                if isinstance(said, dict):
                    yield said
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Failed("docker", f"docker broke off while it pulled {image}: {error}") from None


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return files.last_lines(body) or "docker gave no reason"


def _failed(image: str, why: str) -> Failed:
    words = why.lower()
    reasons = (reason for reason, signs in _SIGNS if any(sign in words for sign in signs))
    return Failed(next(reasons, "docker"), f"{image}: {why}")


if __name__ == "__main__":
    files.main({"pull": pull, "size": size})
