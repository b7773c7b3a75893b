"""`spark-cluster history`: what was done, by the journals of this machine and of the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import HostsOption, InventoryOption, JsonOption, split
from spark_cluster.cli.terminal import say, say_json

if TYPE_CHECKING:
    from spark_cluster.runner.history import Past


def register(app: typer.Typer) -> None:
    app.command("history")(history)


def history(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Run to show; `last` is the newest."),
    ] = None,
    nodes: Annotated[
        bool,
        typer.Option("--nodes", help="Show the hosts' own records, whoever ran the command."),
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="Runs to show, or lines per host.")
    ] = 20,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show past runs and how they ended. With RUN, show what that run did."""
    from spark_cluster.runner.history import past_run, past_runs

    if nodes:
        return _nodes(inventory, split(hosts), run, limit, as_json=as_json)
    if run is not None:
        return _story(past_run(run, tell=_tell), as_json=as_json)
    return _runs(past_runs(tell=_tell)[:limit], as_json=as_json)


def _tell(text: str) -> None:
    say(text, err=True)


def _runs(runs: list[Past], *, as_json: bool) -> int:

    from spark_cluster.cli.terminal import Console, add_row, new_table
    from spark_cluster.core.units import human_seconds

    if as_json:
        say_json({"runs": [past.as_dict() for past in runs]})
        return 0
    console = Console()
    if not runs:
        console.line("No run of this user on this machine yet; `--nodes` asks the hosts.")
        return 0
    shown = new_table("run", "started", "what", "hosts", "took", "outcome")
    for past in runs:
        add_row(
            shown,
            past.run,
            past.started.astimezone().strftime("%Y-%m-%d %H:%M:%S") if past.started else "",
            f"{past.verb} {past.recipe}" if past.recipe else past.verb,
            ", ".join(past.hosts),
            human_seconds(past.seconds) if past.seconds is not None else "",
            past.outcome,
        )
    console.table(shown)
    return 0


def _story(past: Past, *, as_json: bool) -> int:

    from spark_cluster.cli.terminal import Console
    from spark_cluster.places import short
    from spark_cluster.runner.history import story

    if as_json:
        say_json({**past.as_dict(), "entries": list(past.entries)})
        return 0
    console = Console()
    console.line(
        (past.verb, "bold"),
        f" on {', '.join(past.hosts)}: {past.outcome}  ",
        (f"run {past.run}, {short(past.path)}", "dim"),
    )
    for when, host, word, text in story(past):
        console.line(f"  {when}  {word:<8} {host:<10} {text}")
    return 0


def _nodes(
    inventory: str | None, chosen: list[str] | None, run: str | None, limit: int, *, as_json: bool
) -> int:

    from spark_cluster.cli.running import load_inventory, read_hosts
    from spark_cluster.cli.terminal import Console
    from spark_cluster.core.error import SparkError
    from spark_cluster.facts.host_journal import LINES, host_journal
    from spark_cluster.inventory.loader import select

    loaded = load_inventory(inventory)
    fact = host_journal(max(limit, LINES))
    found = read_hosts(loaded, select(loaded, chosen), (fact,))
    away = [name for name, facts in found.items() if isinstance(facts, SparkError)]
    lines = {
        name: [line for line in facts[fact] if run is None or run in line[1]][-limit:]
        for name, facts in found.items()
        if not isinstance(facts, SparkError)
    }
    if as_json:
        rows = {
            name: [{"time": t, "text": text} for t, text in said] for name, said in lines.items()
        }
        say_json({"hosts": rows, "unknown": away})
        return 3 if away else 0
    console = Console()
    for name, facts in found.items():
        console.line((name, "bold"))
        if isinstance(facts, SparkError):
            console.line(f"  unknown: {facts.message}")
            console.line(f"  next: {facts.remedy}")
            continue
        for when, text in lines[name]:
            console.line(f"  {when}  {text}")
        if not lines[name]:
            console.line("  nothing written down here")
    return 3 if away else 0
