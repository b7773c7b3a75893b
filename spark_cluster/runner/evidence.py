"""Collect the evidence of all hosts at once, black out the secrets, write one archive."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import platform
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from spark_cluster.core.error import InputError, SparkError, StateUnknown
from spark_cluster.core.version import __version__
from spark_cluster.evidence import script as scripts
from spark_cluster.evidence.index import Part
from spark_cluster.evidence.items import items
from spark_cluster.evidence.redact import learned, redact_files
from spark_cluster.evidence.unpack import parse
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner import journal
from spark_cluster.runner.session import HostSession, Session

#: Runs of our journal that go along, the newest.
_RUNS = 20

#: The part of the machine that collects; no host of an inventory is called so.
CONTROLLER = "controller"


def collect(session: Session, since: str = "") -> list[Part]:
    """Every host's part, as it came: not yet blacked out. A host that is away or hangs has a
    problem and no files; it keeps nobody waiting longer than its time limit."""
    outcomes = session.each(session.alive, lambda host: _collect(host, since))
    parts = []
    for name in session.hosts:
        outcome = session.lost.get(name) or outcomes[name]
        if isinstance(outcome, SparkError):
            session.hosts[name].lost = outcome
            parts.append(Part(name, problem=f"not collected: {outcome.message}"))
        else:
            parts.append(outcome)
    return parts


def _collect(host: HostSession, since: str) -> Part:
    wanted = items(host.context, since)
    limit = scripts.seconds(wanted)
    done = host.run(scripts.script(wanted), timeout=limit)
    if not done.stdout.strip():
        why = f"within {limit:.0f} s" if done.timed_out else f"(status {done.status})"
        raise StateUnknown(
            f"sent no evidence {why} {done.stderr.strip()[-200:]}".strip(),
            host=host.name,
            remedy="Look at the host's console; it may hang.",
        )
    return parse(host.name, done.stdout, wanted)


def controller(inventory: Inventory) -> dict[str, bytes]:
    """Our own: the newest runs of the journal, the inventory, the versions."""
    versions = f"spark-cluster {__version__}\nPython {platform.python_version()}\n"
    found = {"versions.txt": f"{versions}{platform.platform()}\n".encode()}
    runs = sorted(journal.folder().glob("*.jsonl"), reverse=True)[:_RUNS]
    for path, name in (
        (inventory.path, "inventory.yaml"),
        *((p, f"journal/{p.name}") for p in runs),
    ):
        try:
            found[name] = _newest(path)
        except OSError as error:
            found[name] = f"not readable: {error.strerror}\n".encode()
    return found


def _newest(path: Path) -> bytes:
    """The file, or its newest part: a watcher's journal has no end."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= scripts.ITEM_LIMIT:
            return file.read(scripts.ITEM_LIMIT)
        file.seek(size - scripts.ITEM_LIMIT)
        return b"[cut: only the newest part]\n" + file.read(scripts.ITEM_LIMIT)


def redacted(parts: list[Part], known: list[str]) -> list[Part]:
    """The parts without secrets: what one file gives away is blacked out in all."""
    flat = {f"{part.host}/{path}": body for part in parts for path, body in part.files.items()}
    secrets = learned(flat, known)
    return [replace(part, files=redact_files(part.files, secrets)) for part in parts]


class Archive:
    """A tar.gz of the user's alone. It appears at `path` only when it is whole; a place that cannot
    be written is found before anything is collected.

    Raises InputError if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.parent / f".{path.name}.part"
        with self._written():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._stream = os.fdopen(descriptor, "wb")

    def write(self, files: Mapping[str, bytes]) -> int:
        """Write the files, below a folder of the archive's name; its size in bytes."""
        name = self._path.name
        folder = name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
        with self._written():
            with self._stream, tarfile.open(fileobj=self._stream, mode="w:gz") as archive:
                for path, content in files.items():
                    member = tarfile.TarInfo(f"{folder}/{path}")
                    member.size, member.mtime, member.mode = len(content), int(time.time()), 0o600
                    archive.addfile(member, io.BytesIO(content))
            self._partial.replace(self._path)
            return self._path.stat().st_size

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self._path} cannot be written: {error.strerror}",
                remedy="Go to a folder with room that you may write to, or choose a place with "
                "`spark-cluster evidence --output FILE`.",
            ) from error

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        """What is not whole is removed."""
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._stream.close()
