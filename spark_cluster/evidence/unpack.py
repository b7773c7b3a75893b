"""What a host sent as its evidence, read within bounds: it may be a bomb, or name other folders."""

from __future__ import annotations

import base64
import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO

from spark_cluster.core.units import count, human_bytes
from spark_cluster.evidence.index import Part
from spark_cluster.evidence.items import Item
from spark_cluster.evidence.script import CUT, IN_MEMORY_LIMIT, ITEM_LIMIT, PLACE, STATES

#: Bytes of a host's archive unpacked, bytes of one of its files, and how many files it may have.
HOST_LIMIT = 128 * 1024 * 1024
FILE_LIMIT = 4 * ITEM_LIMIT
FILES = 2000

_CHUNK = 1024 * 1024

#: A path that stays where it is put, whatever unpacks it.
_PATH = re.compile(r"(?!\.)[\w.:@+-]{1,120}(/(?!\.)[\w.:@+-]{1,120}){0,3}", re.ASCII)


def parse(host: str, output: str, items: Sequence[Item]) -> Part:
    """What the script printed on a host; of an archive that broke off, what came before."""
    files: dict[str, bytes] = {}
    cut: set[str] = set()
    strange = 0
    problem = ""
    try:
        packed = base64.b64decode("".join(output.split()), validate=True)
        for name, content, whole in _members(packed):
            if len(files) + strange >= FILES:
                raise _TooMuch(f"more than {FILES} files")
            if name in files or not _PATH.fullmatch(name):
                strange += 1
                continue
            files[name] = content
            if not whole:
                cut.add(name)
    except _TooMuch as error:
        problem = f"the host sent {error}: the rest is left out"
    except (tarfile.TarError, zlib.error, OSError, EOFError, ValueError, ArithmeticError) as error:
        problem = f"what the host sent broke off: {error}"
    own = {
        name: files.pop(name, b"").decode("utf-8", errors="replace")
        for name in (STATES, PLACE, CUT)
    }
    cut |= set(own[CUT].split("\n")) & files.keys()
    notes = []
    if (place := own[PLACE].strip()) not in ("", "/tmp"):
        most = human_bytes(IN_MEMORY_LIMIT)
        notes.append(f"/tmp had no room: collected in {place}, at most {most} an item")
    if strange:
        notes.append(f"{count(strange, 'file')} with names that are none of ours left out")
    failed = _failed(own[STATES], items)
    return Part(host, files, failed, problem, "; ".join(notes), frozenset(cut))


class _TooMuch(Exception):
    """More than a host's share."""


class _Share(io.RawIOBase):
    """A stream that raises _TooMuch after HOST_LIMIT bytes."""

    def __init__(self, inner: gzip.GzipFile) -> None:
        self._inner = inner
        self._left = HOST_LIMIT

    def read(self, size: int = -1) -> bytes:
        found = self._inner.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self._left -= len(found)
        if self._left < 0:
            raise _TooMuch(f"more than {human_bytes(HOST_LIMIT)}")
        return found


def _members(packed: bytes) -> Iterator[tuple[str, bytes, bool]]:
    """Name and newest part of each file, and whether that is all of it."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as unpacked:
        share = _Share(unpacked)
        with tarfile.open(fileobj=share, mode="r|") as archive:
            for member in archive:
                # A sparse file's holes take no room in the archive.
                if not member.isfile() or member.issparse():
                    if not member.isdir():
                        yield "", b"", True
                    continue
                content = archive.extractfile(member)
                assert content is not None
                body, whole = _newest(content)
                yield member.name.removeprefix("./"), body, whole


def _newest(content: IO[bytes]) -> tuple[bytes, bool]:
    kept = b""
    whole = True
    while chunk := content.read(_CHUNK):
        kept += chunk
        if len(kept) > FILE_LIMIT:
            kept, whole = kept[-FILE_LIMIT:], False
    return kept, whole


def _failed(states: str, items: Sequence[Item]) -> dict[str, str]:
    ended = {path: word for word, _, path in (line.partition(" ") for line in states.splitlines())}
    return {
        item.path: said for item in items if (said := _said(ended.get(item.path, ""), item.seconds))
    }


def _said(state: str, limit: int) -> str:
    """A status of its own is a program's business (a `grep` that finds nothing ends with 1); only
    the time limit is ours."""
    if state in ("124", "137"):
        return f"did not end within {limit} s"
    if state == "stuck":
        return f"did not end within {limit} s and could not be stopped"
    return "" if state else "was not begun"
