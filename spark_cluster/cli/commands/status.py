"""`spark-cluster status`: what of ours runs where, read now."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import Hosts, interval_option
from spark_cluster.cli.output import Output
from spark_cluster.core.error import InputError


def status(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Refresh in full screen until Ctrl-C.")
    ] = False,
    interval: Annotated[
        float | None,
        interval_option("Time between refreshes with --watch; default: 2s.", least=0.5),
    ] = None,
    where: Hosts,
    output: Output,
) -> int:
    """Show hosts, rails, our containers, the server and its work. One exec a host, nothing changed.

    Rates are those of about a second; with --watch those between two refreshes.
    """
    from spark_cluster.actions import status as action
    from spark_cluster.cli.views.status import lines

    if interval is not None and not watch:
        raise InputError(
            "--interval goes with --watch only", remedy="Add --watch, or leave --interval out."
        )
    loaded, names = where.load_hosts()
    if not watch:
        act = partial(action.status, loaded, names)
        return output.look(act, partial(lines, verbose=output.verbose))
    from spark_cluster.cli.views import status_screen

    with output.operator() as operator:
        reports = action.refreshes(loaded, names, interval or 2.0, operator)
        return status_screen.watch(reports, loaded.path, as_json=output.as_json)
