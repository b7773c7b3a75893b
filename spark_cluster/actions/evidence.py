"""Collect everything that helps to find out what happened, in one archive."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from spark_cluster.actions.doctor import look
from spark_cluster.actions.events import Collecting
from spark_cluster.actions.operator import Operator
from spark_cluster.actions.run import looking
from spark_cluster.core.event import Event
from spark_cluster.core.version import __version__
from spark_cluster.doctor.examine import examine
from spark_cluster.evidence.index import About, Part, page, wrong
from spark_cluster.evidence.redact import redact, secret_values
from spark_cluster.inventory.models import Inventory
from spark_cluster.places import short
from spark_cluster.runner import evidence as collecting
from spark_cluster.runner.session import Session


@dataclass(frozen=True)
class Collected(Event):
    """An archive of so many bytes. `incomplete`: hosts of which something is missing; `wrong`:
    what looks wrong, a line each; `codes`: of the doctor's findings."""

    kind: str = field(default="evidence", init=False)
    path: str
    bytes: int
    files: int
    incomplete: tuple[str, ...]
    wrong: tuple[str, ...]
    codes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """3 if something is missing of a host."""
        return 3 if self.incomplete else 0


def collect(
    inventory: Inventory,
    hosts: Sequence[str],
    operator: Operator,
    *,
    path: Path | None = None,
    since: str = "",
) -> Collected:
    """Collect from these hosts; one that hangs does not keep the rest from going on. `since` is a
    time as `docker logs` takes it; `path` is in the current folder, with the date, if not given.

    Raises InputError if the archive cannot be written; where it cannot, nothing is collected.
    """
    with looking(inventory, hosts, operator) as session:
        operator.listener(Collecting(tuple(session.hosts)))
        return gather(session, inventory, path or default_path(), since=since)


def default_path() -> Path:
    """In the current folder, with the date."""
    return Path(f"spark-cluster-evidence-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz")


def gather(session: Session, inventory: Inventory, path: Path, *, since: str) -> Collected:
    """Collect over a connected session, examine, black out, write. Raises InputError."""
    with collecting.Archive(path) as archive:
        parts = collecting.collect(session, since)
        findings = examine(look(session, inventory))
        own = Part(collecting.CONTROLLER, collecting.controller(inventory))
        password = session.become.password
        known = [*secret_values(os.environ), *([password.reveal()] if password else [])]
        clean = collecting.redacted([*parts, own], known)
        about = About(
            f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            short(inventory.path),
            __version__,
            since,
        )
        files = {"index.md": redact(page(about, clean, findings), known).encode()}
        files |= {
            f"{part.host}/{name}": body for part in clean for name, body in part.files.items()
        }
        size = archive.write(files)
    return Collected(
        path=str(path),
        bytes=size,
        files=len(files),
        incomplete=tuple(part.host for part in parts if part.problem),
        wrong=tuple(redact(line, known) for line in wrong(clean, findings)),
        codes=tuple(dict.fromkeys(finding.code for finding in findings)),
    )
