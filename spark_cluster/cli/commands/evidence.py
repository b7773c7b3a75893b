"""`spark-cluster evidence`: everything that helps to find out what happened, in one archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spark_cluster.cli.options import HostsOption, InventoryOption, JsonOption, split
from spark_cluster.cli.terminal import say, say_json

if TYPE_CHECKING:
    from spark_cluster.inventory.models import Inventory
    from spark_cluster.runner.session import Session


def register(app: typer.Typer) -> None:
    app.command("evidence")(evidence)


def evidence(
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="TIME", help="Collect logs since this time: 1h, 2026-11-21T03:15:00."
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Archive to write (tar.gz)."),
    ] = None,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Collect logs, counters and states of all hosts in one archive.

    It holds no secrets and begins with index.md, which says what looks wrong. A host that hangs is
    named there and the others are complete; exit 3 then. Changes nothing; the stacks of the ranks
    are read by py-spy, else by gdb, which stops a rank for 30 s at most.
    """

    from spark_cluster.actions.running import load_inventory, looking
    from spark_cluster.inventory.loader import select
    from spark_cluster.serving.logs import check_since

    if since:
        check_since(since)
    loaded = load_inventory(inventory)
    with looking(loaded, select(loaded, split(hosts))) as session:
        if not as_json:
            say(f"collecting from {', '.join(session.hosts)}: up to 90 s each, all at once")
        told = gather(session, loaded, output or default_path(), since=since)
    if as_json:
        say_json(told)
    else:
        _show(told)
    return 3 if told["incomplete"] else 0


def default_path() -> Path:
    """In the current folder, with the date."""
    from datetime import UTC, datetime

    return Path(f"spark-cluster-evidence-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz")


def gather(session: Session, inventory: Inventory, path: Path, *, since: str) -> dict[str, Any]:
    """Collect, examine, black out, write. What `--json` prints.

    Raises InputError if the archive cannot be written; where it cannot, nothing is collected.
    """
    import os
    from datetime import UTC, datetime

    from spark_cluster import __version__
    from spark_cluster.cli.views.doctor import look
    from spark_cluster.doctor.examine import examine
    from spark_cluster.evidence.index import About, Part, page, wrong
    from spark_cluster.evidence.redact import redact, secret_values
    from spark_cluster.places import short
    from spark_cluster.runner import evidence as collecting

    with collecting.Archive(path) as archive:
        parts = collecting.collect(session, since)
        findings = examine(look(session, inventory))
        own = Part(collecting.CONTROLLER, collecting.controller(inventory))
        password = session.become.password
        known = [*secret_values(os.environ), *([password.reveal()] if password else [])]
        clean = collecting.redacted([*parts, own], known)
        about = About(
            path.name,
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
    return {
        "path": str(path),
        "bytes": size,
        "files": len(files),
        "incomplete": [part.host for part in parts if part.problem],
        "wrong": [redact(line, known) for line in wrong(clean, findings)],
        "codes": list(dict.fromkeys(finding.code for finding in findings)),
    }


def _show(told: dict[str, Any]) -> None:
    from spark_cluster.core.units import human_bytes

    say(f"{told['path']}: {told['files']} files, {human_bytes(told['bytes'])}")
    if told["wrong"]:
        say("what looks wrong:")
        for line in told["wrong"]:
            say(f"  {line}")
    else:
        say("nothing looks wrong to the doctor")
    say("next: tar -xzf it and read index.md; `spark-cluster explain CODE` says more")
