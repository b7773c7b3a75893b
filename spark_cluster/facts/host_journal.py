"""What we wrote into the host's own journal with `logger -t spark-cluster`."""

from __future__ import annotations

from spark_cluster.facts.base import Fact, ProbeContext

#: How many lines are enough to find a run in; a bootstrap writes about ten.
LINES = 200


def parse(text: str) -> tuple[tuple[str, str], ...]:
    """(time, text) of each line, the oldest first."""
    lines = []
    for line in text.split("\n"):
        when, _, rest = line.partition(" ")
        _, _, said = rest.partition(": ")
        if said and when[:4].isdigit():
            lines.append((when, said))
    return tuple(lines)


def host_journal(lines: int = LINES) -> Fact[tuple[tuple[str, str], ...]]:
    """The newest `lines` of them."""

    def script(_: ProbeContext) -> str:
        # Any user may write under any name; whose it is, journald knows by itself.
        ours = "-t spark-cluster _UID=0"
        return f"journalctl {ours} -o short-iso --no-pager -q -n {lines} 2>&1\n"

    return Fact("host-journal", script, parse)
