"""`spark-cluster logs`: the logs of all ranks, merged by time."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from spark_cluster.cli.options import Hosts
from spark_cluster.cli.output import Json
from spark_cluster.terminal.printing import say


def logs(
    ranks: Annotated[
        list[int] | None, typer.Argument(metavar="RANK", help="Limit to these ranks.")
    ] = None,
    *,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Follow the logs; Ctrl-C detaches and stops nothing."),
    ] = False,
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Show lines since this time: 10m, 2h, 2026-11-21T03:15:00.",
        ),
    ] = "",
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Lines to show per rank.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="REGEX", help="Show only lines that match.")
    ] = None,
    where: Hosts,
    output: Json,
) -> int:
    """Show the logs of all ranks, merged by time. Each line names its rank and host."""
    from spark_cluster.actions import logs as action
    from spark_cluster.cli.views.logs import LogView

    view = LogView(as_json=output.as_json)
    with output.operator(view=view) as operator:
        shown = action.logs(
            *where.load_hosts(), replace(operator, listener=view),
            ranks=ranks or (), since=since, tail=tail, follow=follow, grep=grep or "",
        )  # fmt: skip
    if not shown.any_line and not follow and not shown.away:
        say("no log line of ours; `spark-cluster status` shows what runs", err=True)
    return shown.exit_code
