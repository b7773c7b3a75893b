"""Copy a model's files between nodes: `serve` on the one that has them, `fetch` on the others.

The server reads and never writes. Who fetches knows from the controller, over SSH, what each file
must hash to: what comes over the wire is believed only when it does. A stream is one TCP
connection; it asks for one file after another, from the byte where an earlier try broke off.

On the wire, after the token: a file's number and an offset, answered by the count of bytes that
follow (-1: the file cannot be read) and those bytes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from spark_cluster.transfer.node import files, hub, streams
from spark_cluster.transfer.node.files import CHUNK, PARTIAL, Failed, File, report
from spark_cluster.transfer.node.streams import SILENCE, connect, fill, receive

_ASK = struct.Struct("!qq")
_ANSWER = struct.Struct("!q")


# Serving


def serve(folder: str, paths: list[list[str]], addresses: list[str], token: str) -> None:
    """Serve files of `folder` until the end of the process; of each the `paths` where it may be."""
    root = files.home(folder)

    def handle(stream: socket.socket) -> None:
        while True:
            stream.settimeout(None)  # the other side may be hashing what it has already
            asked = receive(stream, _ASK.size)
            if len(asked) < _ASK.size:
                return
            stream.settimeout(SILENCE)
            number, offset = _ASK.unpack(asked)
            file = _first(root, paths[number])
            if file is None:
                stream.sendall(_ANSWER.pack(-1))
                continue
            with file:
                size = max(0, os.fstat(file.fileno()).st_size - offset)
                stream.sendall(_ANSWER.pack(size))
                if size:
                    stream.sendfile(file, offset, size)

    streams.serve(addresses, token, root, handle)


def _first(root: Path, paths: list[str]) -> BinaryIO | None:
    for path in paths:
        with contextlib.suppress(OSError):
            return (root / path).open("rb")
    return None


# Fetching


class Fetch:
    """The state of one fetch; `run` returns when every file is there, whole and under its name."""

    def __init__(self, root: Path, wanted: list[File], job: dict[str, Any]) -> None:
        self.root = root
        self.wanted = wanted
        self.job = job
        self.total = sum(file.size for file in wanted)
        self.seconds = {"receive": 0.0, "hash": 0.0, "write": 0.0}
        self.received = 0
        self.there = 0
        self._lock = threading.Lock()
        self._queue = sorted(range(len(wanted)), key=lambda number: -wanted[number].size)
        self._failed: Failed | None = None

    def run(self) -> None:
        count = min(self.job["streams"], len(self.wanted))
        with ThreadPoolExecutor(max(1, count)) as pool:
            list(pool.map(self._stream, range(count)))
        if self._failed is not None:
            raise self._failed

    def need(self) -> int:
        """Bytes that are still to be written to the disk."""
        left = 0
        for file in self.wanted:
            if not files.has(self.root / file.path, file.size):
                part = self._part(file)
                left += file.size - (part.stat().st_size if part.exists() else 0)
        return left

    def _part(self, file: File) -> Path:
        return self.root / "blobs" / (file.digest + PARTIAL)

    def _stream(self, number: int) -> None:
        peers = self.job["peers"]
        try:
            stream: socket.socket | None = None
            while (index := self._next()) is not None:
                if self._already(self.wanted[index]):
                    continue
                if stream is None:
                    peer = peers[number % len(peers)]
                    stream = connect(peer, self.job["token"], self.job["through"])
                self._file(stream, index)
        except Failed as failed:
            self._failed = self._failed or failed
        except Exception as error:  # a thread that died in silence would look like success
            self._failed = self._failed or Failed("network", f"the stream broke: {error!r}")

    def _next(self) -> int | None:
        with self._lock:
            return self._queue.pop(0) if self._queue and self._failed is None else None

    def _already(self, file: File) -> bool:
        """Whether the file is there. Its size is enough, for it got its name when its hash was
        right; a `deep` fetch reads it again and drops what is wrong."""
        path = self.root / file.path
        if not files.has(path, file.size):
            return False
        if self.job["deep"]:
            found = files.digest(path, file.kind, file.size, lambda _: self._failed is not None)
            if found != file.digest and self._failed is None:
                report(note=f"{file.path} was corrupt; it is fetched again")
                return False
        with self._lock:
            self.there += file.size
        return True

    def _file(self, stream: socket.socket, index: int) -> None:
        """Fetch one file. A wrong hash after a resumed try may be the old part's: once more."""
        file = self.wanted[index]
        part = self._part(file)
        for _ in range(2):
            offset = self._resume(part, file)
            if self._receive(stream, index, part, offset) == file.digest:
                part.replace(self.root / file.path)
                return
            if self._failed is not None:
                return
            part.unlink()
            with self._lock:
                self.there -= offset
                self.received -= file.size - offset
            if not offset:
                break
        raise Failed(
            "corrupt", f"{file.path} is corrupt on the source: it does not hash to its name"
        )

    def _resume(self, part: Path, file: File) -> int:
        """The length of what an earlier try left."""
        if not part.exists() or part.stat().st_size > file.size:
            part.write_bytes(b"")
        size = part.stat().st_size
        with self._lock:
            self.there += size
        return size

    def _receive(self, stream: socket.socket, index: int, part: Path, offset: int) -> str:
        """Append the rest of a file to its part; the hash of all of it."""
        file = self.wanted[index]
        found = files.hasher(file.kind, file.size)
        files.read_into(part, found, offset, lambda _: self._failed is not None)
        stream.sendall(_ASK.pack(index, offset))
        answer = receive(stream, _ANSWER.size)
        left = _ANSWER.unpack(answer)[0] if len(answer) == _ANSWER.size else None
        if left is None:
            raise Failed("network", "the source closed the connection")
        if left != file.size - offset:
            raise Failed("source", f"{file.path} cannot be read or has another size on the source")
        buffer = memoryview(bytearray(CHUNK))
        spent = dict.fromkeys(self.seconds, 0.0)
        with part.open("ab", buffering=0) as target:
            while left > 0 and self._failed is None:
                at = time.monotonic()
                count = fill(stream, buffer[: min(CHUNK, left)])
                at = _spend(spent, "receive", at)
                if not count:
                    raise Failed("network", "the source closed the connection")
                found.update(buffer[:count])
                at = _spend(spent, "hash", at)
                _write(target.fileno(), buffer[:count])
                _spend(spent, "write", at)
                left -= count
                with self._lock:
                    self.received += count
            at = time.monotonic()
            os.fsync(target.fileno())
            _spend(spent, "write", at)
            # Memory is the GPU's, too: what was only copied need not stay in the page cache.
            os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with self._lock:
            for name, seconds in spent.items():
                self.seconds[name] += seconds
        return str(found.hexdigest())


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _spend(spent: dict[str, float], name: str, since: float) -> float:
    now = time.monotonic()
    spent[name] += now - since
    return now


def fetch(
    folder: str,
    commit: str,
    wanted: list[dict[str, Any]],
    links: list[list[str]],
    refs: dict[str, str],
    **job: Any,
) -> None:
    """Bring `folder` to hold these files of a commit, then the links to them, then the refs."""
    root = files.home(folder)
    digests = [file["digest"] for file in wanted]
    files.give_to_user(root / "blobs")
    files.give_to_user(root)
    hub.drop_leftovers(root, digests)
    files.become_user()
    fetching = Fetch(root, [File(**file) for file in wanted], job)
    need = fetching.need()
    if need:
        files.need_room(root, need)
        hub.begin(root, commit, digests)
    usage = files.Usage(root)
    began = time.monotonic()

    def so_far() -> dict[str, Any]:
        return {"bytes": fetching.there + fetching.received, "total": fetching.total}

    report(**so_far())
    files.every_second(so_far)
    fetching.run()
    seconds = time.monotonic() - began
    used = usage.so_far()
    hub.drop_leftovers(root)
    placed = sum(files.put_link(root / path, target) for path, target in links)
    hub.end(root, commit)
    placed += sum(files.put_text(root / "refs" / name, found) for name, found in refs.items())
    report(
        done={
            "received": fetching.received,
            "there": fetching.there,
            "placed": placed,
            "seconds": seconds,
            "spent": fetching.seconds,
            "usage": used,
        }
    )


if __name__ == "__main__":
    files.main({"serve": serve, "fetch": fetch})
