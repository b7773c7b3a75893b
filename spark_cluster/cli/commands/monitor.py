"""`spark-cluster monitor`: Prometheus, Grafana and their exporters on the hosts."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import (
    DryRunOption,
    HostsOption,
    InventoryOption,
    JsonOption,
    SetOption,
    VerboseOption,
    split,
)
from spark_cluster.cli.sections import Group
from spark_cluster.cli.terminal import say_json

app = typer.Typer(
    cls=Group,
    help="Run Prometheus, Grafana and their exporters.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("up")
def up(
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
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    dry_run: DryRunOption = False,
    settings: SetOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Start the monitoring and show which targets answer."""
    from dataclasses import replace

    from spark_cluster.cli.running import Active, load_inventory, read_hosts
    from spark_cluster.cli.verbs import End, run_playbook
    from spark_cluster.cli.views.monitor import check, request, server_of, told, urls
    from spark_cluster.facts.monitor import MONITOR
    from spark_cluster.inventory.loader import select

    loaded = load_inventory(inventory)
    asked_for = select(loaded, split(hosts))
    parameters = {
        "source": "packages" if packages else "images",
        "without": split(without, "--without") or [],
        "engine_port": engine_port,
        "watcher": watcher,
    }
    check(parameters)
    note = None
    if host:
        server = select(loaded, [host])[0]
    else:
        server, why = server_of(read_hosts(loaded, list(loaded.hosts), [MONITOR]))
        note = f"Prometheus and Grafana: on {server}, {why}"
    asked = request(
        "monitor up", loaded, select(loaded, [*asked_for, server]),
        {"host": server, **parameters}, settings or (), as_json=as_json, verbose=verbose,
    )  # fmt: skip
    asked = replace(asked, note=note)

    def end(active: Active) -> End:
        facts = active.session.hosts[server].facts
        return End(urls(loaded, server, facts), told(loaded, server, facts))

    return run_playbook(asked, dry_run=dry_run, commands=verbose, end=end)


@app.command("down")
def down(
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove collected data and Grafana's password.")
    ] = False,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Stop and remove the monitoring. Collected data stays unless --purge."""
    from dataclasses import replace

    from spark_cluster.cli.running import activate, load_inventory, lost_results
    from spark_cluster.cli.verbs import run_playbook
    from spark_cluster.cli.views.monitor import request
    from spark_cluster.inventory.loader import select

    loaded = load_inventory(inventory)
    parameters = {"state": "absent", "purge": purge}
    asked = replace(
        request("monitor down", loaded, select(loaded, split(hosts)), parameters, (),
                as_json=as_json, verbose=verbose),
        all_hosts_needed=False,
        carry_on=True,
    )  # fmt: skip
    if dry_run:
        return run_playbook(asked, dry_run=True, commands=verbose)
    with activate(asked) as active:
        results = active.run.apply(active.run.plan())
        missing = lost_results(active.session, "monitor-services")
        code = active.finish([*results, *missing])
        for result in missing:
            active.say(
                f"unknown: {result.host} was not reached; its exporters may still run. "
                f"Run `spark-cluster monitor down --hosts {result.host}` when it answers."
            )
        return code


@app.command("status")
def status(
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show what runs where, which targets answer and which alerts fire."""

    from spark_cluster.cli.running import load_inventory, read_hosts
    from spark_cluster.cli.terminal import Console
    from spark_cluster.cli.views.monitor import rows, show
    from spark_cluster.facts.monitor import MONITOR, SCRAPED
    from spark_cluster.inventory.loader import select

    loaded = load_inventory(inventory)
    names = select(loaded, split(hosts))
    found = rows(loaded, read_hosts(loaded, names, [MONITOR, SCRAPED]))
    if as_json:
        say_json({"inventory": str(loaded.path), "hosts": found})
    else:
        show(Console(), found)
    return 3 if any(row["state"] == "unknown" for row in found) else 0
