"""`spark-cluster status`: what of ours runs where, read now."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.durations import duration
from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import Hosts
from spark_cluster.cli.output import Output


def register(app: typer.Typer) -> None:
    app.command("status")(status)


@grouped
def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh in full screen until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            "--interval",
            metavar="TIME",
            parser=duration("--interval", least=0.5, most=3600),
            help="Time between refreshes with --watch; default: 2s.",
        ),
    ] = None,
    where: Hosts,
    output: Output,
) -> int:
    """Show hosts, rails, our containers, the server and its work. One exec a host, nothing changed.

    Rates are those of about a second; with --watch those between two refreshes.
    """
    from spark_cluster.actions import status as action
    from spark_cluster.cli.terminal import Console
    from spark_cluster.core.error import InputError

    if interval is not None and not watch:
        raise InputError(
            "--interval goes with --watch only", remedy="Add --watch, or leave --interval out."
        )
    loaded = where.load()
    names = where.select(loaded)
    with output.operator() as operator:
        if watch:
            from spark_cluster.cli.views import status_screen

            reports = action.refreshes(loaded, names, interval or 2.0, operator)
            return status_screen.watch(reports, loaded.path, as_json=output.as_json)
        report = action.status(loaded, names, operator)
    output.json(report)
    if not output.as_json:
        from spark_cluster.cli.views.status import show

        show(Console(), report, verbose=output.verbose)
    return report.exit_code
