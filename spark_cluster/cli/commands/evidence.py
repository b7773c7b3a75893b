"""`spark-cluster evidence`: everything that helps to find out what happened, in one archive."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from spark_cluster.cli.options import Hosts
from spark_cluster.cli.output import Json


def evidence(
    *,
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="TIME", help="Collect logs since this time: 1h, 2026-11-21T03:15:00."
        ),
    ] = "",
    archive: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Archive to write (tar.gz)."),
    ] = None,
    where: Hosts,
    output: Json,
) -> int:
    """Collect logs, counters and states of all hosts in one archive.

    It holds no secrets and begins with index.md, which says what looks wrong. A host that hangs is
    named there and the others are complete; exit 3 then. Changes nothing; the stacks of the ranks
    are read by py-spy, else by gdb, which stops a rank for 30 s at most.
    """
    from spark_cluster.actions.evidence import collect
    from spark_cluster.cli.views.evidence import lines
    from spark_cluster.serving.logs import check_since

    if since:
        check_since(since)
    return output.look(partial(collect, *where.load_hosts(), path=archive, since=since), lines)
