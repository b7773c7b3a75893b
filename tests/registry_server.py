"""A container registry on loopback: as much of its protocol as docker needs to pull an image."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import re
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
#: As docker calls the machine that the test runs on.
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def digest_of(data: bytes) -> str:
    """As an image's parts are named."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Registry:
    """One image, `name`:`tag`, with layers of random bytes of these sizes; or `saved`, the image of
    a file that docker saved.

    served      bytes of each blob that went out; `requests` are the paths asked for, in order
    wrong       what goes out in place of a blob or a manifest, by its digest
    hold_after  a blob stops after so many bytes until `gate` is set
    authorization  the header that a client must give; empty: none. With `tokens` it must give that
                to get a token, and then the token: as docker.io and nvcr.io do
    """

    name: str = "vllm"
    tag: str = "25.11"
    sizes: tuple[int, ...] = (200_000, 300_000)
    architecture: str = ARCHITECTURE
    wrong: dict[str, bytes] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    hold_after: int | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    authorization: str = ""
    tokens: bool = False
    address: str = ""
    saved: Path | None = None

    def __post_init__(self) -> None:
        if self.saved is not None:
            self.config, tars = _contents(self.saved)
        else:
            tars = [_layer(number, size) for number, size in enumerate(self.sizes)]
            self.config = self._config(tars)
        self.layers = [gzip.compress(tar, 1) for tar in tars]
        self.blobs = {digest_of(data): data for data in (self.config, *self.layers)}
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _described(_CONFIG, self.config),
            "layers": [_described(_LAYER, layer) for layer in self.layers],
        }
        self.manifest = json.dumps(manifest).encode()
        self.digest = digest_of(self.manifest)

    def _config(self, tars: list[bytes]) -> bytes:
        config = {
            "architecture": self.architecture,
            "os": "linux",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        }
        return json.dumps(config).encode()

    @property
    def image(self) -> str:
        """The name to pull."""
        return f"{self.address}/{self.name}:{self.tag}"

    @property
    def by_digest(self) -> str:
        return f"{self.address}/{self.name}@{self.digest}"

    @property
    def size(self) -> int:
        """Bytes of all layers, as they travel."""
        return sum(map(len, self.layers))

    @property
    def fetched(self) -> int:
        """Bytes of layers that went out."""
        return sum(self.served.get(digest_of(layer), 0) for layer in self.layers)


def _described(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(data), "digest": digest_of(data)}


def _layer(number: int, size: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(f"layer-{number}")
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    return buffer.getvalue()


def _contents(saved: Path) -> tuple[bytes, list[bytes]]:
    """The configuration and the layers, unpacked, of what `docker save` wrote."""
    with tarfile.open(saved) as tar:

        def read(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            data = file.read()
            return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data

        (image,) = json.loads(read("manifest.json"))
        return read(image["Config"]), [read(name) for name in image["Layers"]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        registry = self.registry
        registry.requests.append(f"{self.command} {self.path}")
        own = re.escape(registry.name)
        given, wanted = self.headers.get("Authorization", ""), registry.authorization
        asks = 'Basic realm="test"'
        if registry.tokens and not self.path.startswith("/token?"):
            wanted = "Bearer of-the-test"
            asks = f'Bearer realm="http://{registry.address}/token",service="test"'
        if wanted and given != wanted:
            self._send(401, _error("UNAUTHORIZED"), {"WWW-Authenticate": asks})
        elif self.path.startswith("/token?"):
            self._send(200, b'{"token": "of-the-test"}')
        elif self.path == "/v2/":
            self._send(200, b"{}")
        elif found := re.fullmatch(rf"/v2/{own}/manifests/(.+)", self.path):
            self._manifest(found[1])
        elif found := re.fullmatch(rf"/v2/{own}/blobs/(sha256:[0-9a-f]+)", self.path):
            self._blob(found[1])
        else:
            self._send(404, _error("NAME_UNKNOWN"))

    def _manifest(self, reference: str) -> None:
        registry = self.registry
        if reference in registry.wrong:
            self._send(200, registry.wrong[reference], {"Content-Type": _MANIFEST})
        elif reference in (registry.tag, registry.digest):
            headers = {"Content-Type": _MANIFEST, "Docker-Content-Digest": registry.digest}
            self._send(200, registry.manifest, headers)
        else:
            self._send(404, _error("MANIFEST_UNKNOWN"))

    def _blob(self, digest: str) -> None:
        data = self.registry.wrong.get(digest, self.registry.blobs.get(digest))
        if data is None:
            self._send(404, _error("BLOB_UNKNOWN"))
            return
        found = re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        more = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if found else {}
        self._send(206 if found else 200, data[start:], more, digest)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, digest: str = ""
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        registry, cut = self.registry, self.registry.hold_after
        pieces = [body] if not digest or cut is None else [body[:cut], body[cut:]]
        for number, piece in enumerate(pieces):
            if number:
                registry.gate.wait(60)
            with suppress(ConnectionError):  # the client went away
                self.wfile.write(piece)
            if digest:
                registry.served[digest] = registry.served.get(digest, 0) + len(piece)


def _error(code: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": code.lower()}]}).encode()


@contextmanager
def running(registry: Registry) -> Iterator[Registry]:
    """Serve it on a port of 127.0.0.1; `registry.address` is where."""
    handler = type("Handler", (_Handler,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    registry.address = f"127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield registry
    finally:
        registry.gate.set()
        server.shutdown()
        server.server_close()
