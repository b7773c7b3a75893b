"""Collect the evidence of all hosts at once, black out the secrets, write one archive."""

from __future__ import annotations

import io
import os
import platform
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

from spark_cluster import __version__
from spark_cluster.core.error import InputError, SparkError, StateUnknown
from spark_cluster.evidence import script as scripts
from spark_cluster.evidence.index import Part
from spark_cluster.evidence.items import items
from spark_cluster.evidence.redact import redact_all
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner import journal
from spark_cluster.runner.session import Lane, Session

#: Runs of our journal that go along, the newest.
_RUNS = 20

#: The part of the machine that collects; no host of an inventory is called so.
CONTROLLER = "controller"


def collect(session: Session, since: str = "") -> list[Part]:
    """Every host's part, as it came: not yet blacked out. A host that is away or hangs has a
    problem and no files; it keeps nobody waiting longer than its time limit."""
    outcomes = session.each(session.alive, lambda lane: _collect(lane, since))
    parts = []
    for name in session.lanes:
        outcome = session.lost.get(name) or outcomes[name]
        if isinstance(outcome, SparkError):
            session.lanes[name].lost = outcome
            parts.append(Part(name, problem=f"not collected: {outcome.message}"))
        else:
            parts.append(outcome)
    return parts


def _collect(lane: Lane, since: str) -> Part:
    wanted = items(lane.context, since)
    limit = scripts.seconds(wanted)
    done = lane.run(scripts.script(wanted), timeout=limit)
    if not done.stdout.strip():
        why = f"within {limit:.0f} s" if done.timed_out else f"(status {done.status})"
        raise StateUnknown(
            f"sent no evidence {why} {done.stderr.strip()[-200:]}".strip(),
            host=lane.name,
            remedy="Look at the host's console; it may hang.",
        )
    found = scripts.parse(done.stdout, wanted)
    return Part(lane.name, found.files, found.failed, found.problem)


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
            found[name] = path.read_bytes()
        except OSError as error:
            found[name] = f"not readable: {error.strerror}\n".encode()
    return found


def redacted(parts: list[Part], known: list[str]) -> list[Part]:
    """The parts without secrets: what one file gives away is blacked out in all."""
    flat = {f"{part.host}/{path}": body for part in parts for path, body in part.files.items()}
    clean = redact_all(flat, known)
    return [
        Part(
            part.host,
            {path: clean[f"{part.host}/{path}"] for path in part.files},
            part.failed,
            part.problem,
        )
        for part in parts
    ]


def write(path: Path, files: Mapping[str, bytes]) -> int:
    """A tar.gz with the files below a folder of its name, readable by its owner alone; its size in
    bytes. It appears only when it is whole.

    Raises InputError if it cannot be written.
    """
    folder = path.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz")
    partial = path.with_name(f".{path.name}.part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(descriptor, "wb") as stream,
            tarfile.open(fileobj=stream, mode="w:gz") as archive,
        ):
            for name, content in files.items():
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size, member.mtime, member.mode = len(content), int(time.time()), 0o600
                archive.addfile(member, io.BytesIO(content))
        partial.replace(path)
        return path.stat().st_size
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}",
            remedy="Choose another place with --output.",
        ) from error
