"""`spark-cluster history`: what was done, by the journals of this machine and of the nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import Hosts
from spark_cluster.cli.output import Json
from spark_cluster.cli.terminal import say


def register(app: typer.Typer) -> None:
    app.command("history")(history)


@grouped
def history(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Run to show; `last` is the newest."),
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
    from spark_cluster.cli.terminal import Console
    from spark_cluster.cli.views import history as view

    if nodes:
        loaded = where.load()
        hosts = where.select(loaded)
        with output.operator() as operator:
            found = action.of_hosts(loaded, hosts, operator, limit=limit, only=run)
        output.json(found)
        if not output.as_json:
            view.show_hosts(Console(), found, hosts)
        return found.exit_code
    if run is not None:
        one = action.run(run, _tell)
        output.json(one)
        if not output.as_json:
            view.show_run(Console(), one.past)
        return 0
    past = action.runs(limit, _tell)
    output.json(past)
    if not output.as_json:
        view.show_runs(Console(), past)
    return 0


def _tell(text: str) -> None:
    say(text, err=True)
