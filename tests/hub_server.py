"""A hub on loopback: as much of its protocol as huggingface_hub needs to download a model."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from spark_cluster.lab.model import blob_name

COMMIT = "c" * 40


@dataclass
class Hub:
    """One model. `served` counts the bytes of each file that went out; what is in `wrong` goes out
    instead of the right content; `gate` is set while files may be sent; `xet`: the large files are
    in the hub's Xet storage."""

    model: str
    files: Mapping[str, bytes]
    token: str = ""
    wrong: dict[str, bytes] = field(default_factory=dict)
    served: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    hold_after: int | None = None
    url: str = ""
    xet: bool = False

    @property
    def cdn(self) -> str:
        """Where large files are, as on the real hub under another host's name."""
        return self.url.replace("127.0.0.1", "localhost") + "/cdn"

    def entry(self, path: str) -> dict[str, Any]:
        data = self.files[path]
        size, blob = len(data), blob_name(path, data)
        if len(blob) == 40:
            return {"path": path, "size": size, "oid": blob}
        lfs = {"sha256": blob, "oid": blob, "size": size, "pointerSize": 130}
        pointer = hashlib.sha1(path.encode()).hexdigest()
        xet = {"xetHash": xet_hash(data)} if self.xet else {}
        return {"path": path, "size": size, "oid": pointer, "lfs": lfs, **xet}


def xet_hash(data: bytes) -> str:
    """What the hub would call it in its Xet storage: 64 hex digits, and never the sha256."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def _info(hub: Hub) -> dict[str, Any]:
    siblings = []
    for path in hub.files:
        entry = hub.entry(path)
        row = {"rfilename": path, "size": entry["size"], "blobId": entry["oid"]}
        siblings.append({**row, **({"lfs": entry["lfs"]} if "lfs" in entry else {})})
    return {
        "_id": "1", "id": hub.model, "modelId": hub.model, "sha": COMMIT, "private": False,
        "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": [],
        "siblings": siblings,
    }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {self.path}")
        model = re.escape(hub.model)
        signed = path.startswith(("/cdn/", "/xet/"))  # the real one signs such addresses
        if hub.token and not signed and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        elif re.fullmatch(rf"/api/models/{model}(/revision/(main|{COMMIT}))?", path):
            self._send(200, json.dumps(_info(hub)).encode())
        elif re.fullmatch(rf"/api/models/{model}/tree/(main|{COMMIT})", path):
            rows = [{"type": "file", **hub.entry(name)} for name in hub.files]
            self._send(200, json.dumps(rows).encode())
        elif found := re.fullmatch(rf"/{model}/resolve/(?:main|{COMMIT})/(.+)", path):
            self._resolve(found[1])
        elif found := re.fullmatch(r"/cdn/(.+)", path):
            self._file(found[1])
        elif found := re.fullmatch(r"/xet/([0-9a-f]{64})", path):
            names = (name for name, data in hub.files.items() if xet_hash(data) == found[1])
            self._file(next(names))
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _resolve(self, name: str) -> None:
        entry = self.hub.entry(name)
        headers = {"X-Repo-Commit": COMMIT}
        if "lfs" not in entry:
            self._file(name, {**headers, "ETag": f'"{entry["oid"]}"'})
            return
        lfs = entry["lfs"]
        headers |= {"X-Linked-Etag": f'"{lfs["sha256"]}"', "X-Linked-Size": str(lfs["size"])}
        if "xetHash" in entry:
            headers |= {"X-Xet-Hash": entry["xetHash"], "X-Xet-Refresh-Route": self.hub.url}
        self._send(302, b"", {**headers, "Location": f"{self.hub.cdn}/{name}"})

    def _file(self, name: str, headers: Mapping[str, str] | None = None) -> None:
        data = self.hub.wrong.get(name, self.hub.files[name])
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        more = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if found else {}
        self._send(206 if found else 200, data[start:], {**(headers or {}), **more}, name)

    def _send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, name: str = ""
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.hub.hold_after
        if name and cut is not None and len(body) > cut:
            self.wfile.write(body[:cut])
            self.hub.gate.wait(60)
            body = body[cut:]
        self.wfile.write(body)
        if name:
            self.hub.served[name] = self.hub.served.get(name, 0) + len(body)


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Serve it on a port of 127.0.0.1; `hub.url` is where."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.gate.set()
        server.shutdown()
        server.server_close()
