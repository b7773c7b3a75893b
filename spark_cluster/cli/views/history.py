"""Past runs, for a person."""

from __future__ import annotations

from collections.abc import Sequence

from spark_cluster.actions.history import HostJournals, Runs
from spark_cluster.cli.terminal import Console, add_row, new_table
from spark_cluster.core.units import human_seconds
from spark_cluster.places import short
from spark_cluster.runner.history import Past, story


def show_runs(console: Console, found: Runs) -> None:
    """A row a run."""
    if not found.runs:
        console.line("No run of this user on this machine yet; `--nodes` asks the hosts.")
        return
    shown = new_table("run", "started", "what", "hosts", "took", "outcome")
    for past in found.runs:
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


def show_run(console: Console, past: Past) -> None:
    """A line an entry."""
    console.line(
        (past.verb, "bold"),
        f" on {', '.join(past.hosts)}: {past.outcome}  ",
        (f"run {past.run}, {short(past.path)}", "dim"),
    )
    for when, host, word, text in story(past):
        console.line(f"  {when}  {word:<8} {host:<10} {text}")


def show_hosts(console: Console, found: HostJournals, names: Sequence[str]) -> None:
    """What each host wrote down, in the order of `names`."""
    for name in names:
        console.line((name, "bold"))
        if name in found.errors:
            console.line(f"  unknown: {found.errors[name].message}")
            console.line(f"  next: {found.errors[name].remedy}")
            continue
        for line in found.hosts[name]:
            console.line(f"  {line.time}  {line.text}")
        if not found.hosts[name]:
            console.line("  nothing written down here")
