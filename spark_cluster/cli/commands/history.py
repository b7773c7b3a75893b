"""`spark-cluster history`: what was done, by the journals of this machine and of the nodes."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import Hosts
from spark_cluster.cli.output import Json
from spark_cluster.terminal.printing import say


def history(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="Run to show; `last` is the newest."),
    ] = None,
    *,
    nodes: Annotated[
        bool,
        typer.Option("--nodes", help="Show the hosts' own records, whoever ran the command."),
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="Runs to show, or lines per host.")
    ] = 20,
    where: Hosts,
    output: Json,
) -> int:
    """Show past runs and how they ended. With RUN, show what that run did."""
    from spark_cluster.actions import history as action
    from spark_cluster.cli.views import history as view

    if nodes:
        loaded, hosts = where.load_hosts()
        act = partial(action.of_hosts, loaded, hosts, limit=limit, only=run)
        return output.look(act, partial(view.journals, names=hosts))
    tell = partial(say, err=True)
    if run is not None:
        return output.report(action.run(run, tell), view.entries)
    return output.report(action.runs(limit, tell), view.runs)
