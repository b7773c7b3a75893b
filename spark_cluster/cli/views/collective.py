"""What a person sees of an all-reduce: a row a size, the links beside it, the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from spark_cluster.cli.views.verdict import rails
from spark_cluster.core.units import human_bytes
from spark_cluster.rdma.bandwidth import amount
from spark_cluster.rdma.collective import peak
from spark_cluster.terminal.printing import Shown, add_row, new_table

if TYPE_CHECKING:
    from rich.table import Table

    from spark_cluster.actions.verify.collective import CollectiveMeasured
    from spark_cluster.rdma.collective import Link, Timed


def lines(event: CollectiveMeasured, *, verbose: bool) -> Iterator[Shown]:
    """The sizes, what the links give, the rails, the reasons, what is wrong."""
    if event.sizes:
        yield _sizes(event.sizes)
    yield f"  torch {event.torch or 'unknown'}, NCCL {event.nccl or 'unknown'}"
    if (best := peak(event.sizes)) is not None:
        yield f"  {_beside(best, event.link)}"
    if event.verdict is not None:
        yield rails(event.verdict.rows, verbose=verbose)
        yield from (f"  {reason}" for reason in event.verdict.reasons)
    yield from (f"  {finding.code} {finding.what}" for finding in event.findings)
    yield f"verdict: {event.verdict.kind if event.verdict is not None else 'none, it failed'}"
    codes = [finding.code for finding in event.findings]
    if event.verdict is not None and event.verdict.code:
        codes.insert(0, event.verdict.code)
    yield from (f"  more: spark-cluster explain {code}" for code in dict.fromkeys(codes))


def _sizes(sizes: Sequence[Timed]) -> Table:
    titles = ("all-reduce", "times", "ms each", "bus Gb/s", "GB/s")
    table = new_table(*titles, "", right=titles)
    for each in sizes:
        add_row(
            table,
            human_bytes(each.bytes),
            str(each.calls),
            f"{each.seconds * 1000:.3f}",
            amount(each.bus_gbits),
            amount(each.bus_gbits / 8),
            "" if each.right else "wrong sum",
        )
    return table


def _beside(best: Timed, link: Link | None) -> str:
    if link is None:
        return f"at most {amount(best.bus_gbits)} Gb/s; the links were not measured"
    where = f"{' + '.join(link.rails)} between {' and '.join(link.hosts)}"
    part = f"{best.bus_gbits / link.gbits:.0%} of " if link.gbits else ""
    return f"at most {amount(best.bus_gbits)} Gb/s, {part}the {amount(link.gbits)} of {where}"
