"""Past runs, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spark_cluster.actions.history import HostJournals, OneRun, Runs
from spark_cluster.core.units import human_seconds
from spark_cluster.places import short
from spark_cluster.runner.history import story
from spark_cluster.terminal.printing import Shown, add_row, new_table


def runs(found: Runs) -> Iterator[Shown]:
    """A row a run."""
    if not found.runs:
        yield "No run of this user on this machine yet; `--nodes` asks the hosts."
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
    yield shown


def entries(found: OneRun) -> Iterator[Shown]:
    """A line an entry of a run's journal."""
    past = found.past
    about = f"run {past.run}, {short(past.path)}"
    yield (past.verb, "bold"), f" on {', '.join(past.hosts)}: {past.outcome}  ", (about, "dim")
    for when, host, word, text in story(past):
        yield f"  {when}  {word:<8} {host:<10} {text}"


def journals(found: HostJournals, names: Sequence[str]) -> Iterator[Shown]:
    """What each host wrote down, in the order of `names`."""
    for name in names:
        yield ((name, "bold"),)
        if name in found.errors:
            yield f"  unknown: {found.errors[name].message}"
            yield f"  next: {found.errors[name].remedy}"
            continue
        yield from (f"  {line.time}  {line.text}" for line in found.hosts[name])
        if not found.hosts[name]:
            yield "  nothing written down here"
