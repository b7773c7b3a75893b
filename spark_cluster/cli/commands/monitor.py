"""`spark-cluster monitor`: Prometheus, Grafana and their exporters on the hosts."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import DryRunOption, Hosts, SetOption, split
from spark_cluster.cli.output import Json, Output
from spark_cluster.cli.sections import Verbs

app = Verbs("monitor", "Run Prometheus, Grafana and their exporters.")


@app.verb()
def up(
    *,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="Host for Prometheus and Grafana; default: the current one, else the first.",
        ),
    ] = None,
    packages: Annotated[
        bool,
        typer.Option(
            "--packages", help="Use Debian's prometheus and node exporter instead of images."
        ),
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="PROGRAM",
            help="Program to leave out, such as grafana or dcgm-exporter.",
        ),
    ] = None,
    engine_port: Annotated[
        int, typer.Option("--engine-port", min=1, max=65535, help="API port of the engine.")
    ] = 8000,
    watcher: Annotated[
        str,
        typer.Option("--watcher", metavar="ADDRESS:PORT", help="Address of the watcher's metrics."),
    ] = "",
    where: Hosts,
    dry_run: DryRunOption = False,
    settings: SetOption = None,
    output: Output,
) -> int:
    """Start the monitoring and show which targets answer."""
    from spark_cluster.actions import monitor as action

    act = partial(
        action.up, *where.load_hosts(),
        host=host, packages=packages, without=split(without, "--without") or (),
        engine_port=engine_port, watcher=watcher, settings=settings or (),
        dry_run=dry_run, commands=output.verbose,
    )  # fmt: skip
    return output.act(act, dry_run=dry_run)


@app.verb()
def down(
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove collected data and Grafana's password.")
    ] = False,
    where: Hosts,
    dry_run: DryRunOption = False,
    output: Output,
) -> int:
    """Stop and remove the monitoring. Collected data stays unless --purge."""
    from spark_cluster.actions import monitor as action

    act = partial(
        action.down, *where.load_hosts(),
        purge=purge, dry_run=dry_run, commands=output.verbose,
    )  # fmt: skip
    return output.act(act, dry_run=dry_run)


@app.verb()
def status(*, where: Hosts, output: Json) -> int:
    """Show what runs where, which targets answer and which alerts fire."""
    from spark_cluster.actions import monitor as action
    from spark_cluster.cli.views.monitor import lines

    return output.look(partial(action.status, *where.load_hosts()), lines)
