"""`spark-cluster verify-rdma --probe`: traffic of our own over every half, measured and judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from spark_cluster.cli.running import Request
    from spark_cluster.rdma.bandwidth import Row


def probe(request: Request, *, seconds: int, both: bool) -> int:
    """Measure, print, compare with earlier runs. Exit 4 on a finding, 3 if a host is away."""
    from spark_cluster.cli.running import activate, lost_results
    from spark_cluster.core.error import InputError
    from spark_cluster.core.event import as_json
    from spark_cluster.core.units import human_seconds
    from spark_cluster.rdma import bandwidth
    from spark_cluster.runner.bandwidth import Bench, journals, results, tests

    wanted = tests(request.inventory, request.hosts, both=both)
    if not wanted:
        raise InputError(
            f"no two of {', '.join(request.hosts)} have rails in one network",
            place=str(request.inventory.path),
            remedy="Give both ends of a cable addresses in one subnet, or name other --hosts.",
        )
    with activate(request) as active:
        inventory = str(request.inventory.path)
        before = bandwidth.earlier(journals(request.run), inventory, request.verb)
        bench = Bench(active.session, active.bus, seconds, before)
        bench.look()
        least = human_seconds(len(wanted) * seconds)
        active.say(f"  {len(wanted)} measurements of {seconds} s each: at least {least}")
        rows, findings = bandwidth.judge(bench.run(wanted))
        if active.view is not None:
            active.view.flush()
            active.view.console.table(_table(rows))
            for finding in findings:
                active.say(f"  {finding.code} {finding.what}")
            for known in dict.fromkeys(finding.code for finding in findings):
                active.say(f"  more: spark-cluster explain {known}")
            if rows and all(row.state == "good" for row in rows):
                active.say("every half delivers what its link should")
        lost = lost_results(active.session, "bandwidth")
        code = 3 if lost else 4 if findings else 0
        data = {"bandwidth": bandwidth.as_data(rows), "findings": as_json(findings)}
        return active.finish([*results(rows), *lost], data=data, code=code)


def _table(rows: Sequence[Row]) -> Table:
    from spark_cluster.cli import terminal

    numbers = ("Gb/s", "expected", "before")
    table = terminal.new_table("from", "to", "rail", *numbers, "", right=numbers)
    for row in rows:
        cells = _cells(row)
        terminal.add_row(table, row.source, row.sink, " + ".join(row.rails), *cells, row.state)
    return table


def _cells(row: Row) -> tuple[str, str, str]:
    from spark_cluster.rdma.bandwidth import amount

    measured = amount(row.gbits) if row.gbits is not None else "unknown"
    expected = f">= {amount(row.wanted)}" if row.wanted is not None else "unknown"
    before = f"{amount(row.before.gbits)} on {row.before.when[:10]}" if row.before else ""
    return measured, expected, before
