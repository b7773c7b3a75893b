"""How a verdict looks: its table of rails, the line of an interval, the table of a log's ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spark_cluster.core.units import human_bytes
from spark_cluster.rdma.bandwidth import amount
from spark_cluster.terminal.printing import Shown, add_row, new_table

if TYPE_CHECKING:
    from rich.table import Table

    from spark_cluster.actions.events import Judged
    from spark_cluster.actions.verify.logs import LogVerdict
    from spark_cluster.actions.verify.probe import Measured
    from spark_cluster.actions.verify.traffic import Interval
    from spark_cluster.rdma.bandwidth import Row
    from spark_cluster.rdma.evidence import RailRow
    from spark_cluster.rdma.from_log import LogRank
    from spark_cluster.rdma.verdict import Verdict


def lines(event: Judged, *, verbose: bool) -> Iterator[Shown]:
    """The table, the reasons, the verdict, where more is said, and what else runs."""
    result = event.verdict
    yield rails(result.rows, verbose=verbose)
    yield from (f"  {reason}" for reason in result.reasons)
    yield f"verdict: {result.kind}"
    if result.code:
        yield f"  more: spark-cluster explain {result.code}"
    yield from (f"  {line}" for line in not_judged(event.not_judged))


def not_judged(others: Sequence[Mapping[str, Any]]) -> list[str]:
    """What runs beside what the verdict is about, and how to have it judged."""
    lines = []
    for other in others:
        hosts = other["hosts"]
        how = f": spark-cluster verify-rdma --hosts {','.join(hosts)}"
        how = how if len(hosts) > 1 else " (one host: nothing to verify)"
        lines.append(f"not judged: {other['recipe']} on {', '.join(hosts)}{how}")
    return lines


def rails(rows: Sequence[RailRow], *, verbose: bool) -> Table:
    """A row a rail; rails that the recipe does not name only if they carried anything."""
    shown = _table(("host", "rank", "rail", "tx", "rx", "tx/token", "rx/token", "errors", "note"))
    for each in rows:
        if verbose or each.is_expected or each.tx or each.rx or each.errors:
            add_row(shown, *_cells(each))
    return shown


def _table(titles: Sequence[str]) -> Table:
    """Words to the left, numbers to the right."""
    words = ("host", "rail", "note", "process", "transport", "devices", "GID", "NCCL", "verdict")
    return new_table(*titles, right=tuple(title for title in titles if title not in words))


def _cells(row: RailRow) -> list[str]:
    note = row.note if row.is_expected or row.note else "not a rail of the recipe"
    return [
        row.host,
        str(row.rank),
        row.rail,
        _amount(row.tx, row.unit),
        _amount(row.rx, row.unit),
        "-" if row.tx_per_token is None else _amount(row.tx_per_token, row.unit),
        "-" if row.rx_per_token is None else _amount(row.rx_per_token, row.unit),
        str(sum(row.errors.values())),
        note,
    ]


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    return human_bytes(value) if unit == "B" else f"{value:,.0f} pkt"


def interval_line(time: str, result: Verdict) -> str:
    """`03:15:42  12.4 tok/s  spark-2 rocep1s0f1 19.1 MB/s out 19.0 in  …  errors 0  rdma`."""
    tokens = "? tok/s"
    if result.tokens is not None and result.seconds:
        tokens = f"{result.tokens / result.seconds:.1f} tok/s"
    parts = [time, f"{tokens:>11}"]
    for row in result.rows:
        if row.is_expected or row.tx or row.rx:
            parts.append(f"{row.host} {row.rail} {_rate(row, result.seconds)}")
    errors = sum(sum(row.errors.values()) for row in result.rows)
    return "  ".join([*parts, f"errors {errors}", result.kind])


def _rate(row: RailRow, seconds: float) -> str:
    if row.tx is None or row.rx is None or not seconds:
        return "unknown"
    if row.unit == "B":
        return f"{row.tx / seconds / 1e6:.1f} MB/s out {row.rx / seconds / 1e6:.1f} in"
    return f"{row.tx / seconds:.0f} pkt/s out {row.rx / seconds:.0f} in"


def log_ranks(ranks: Sequence[LogRank]) -> Table:
    """A row a rank, from NCCL's log alone."""
    titles = ("rank", "process", "transport", "devices", "channels", "GDR", "GID", "NCCL")
    shown = _table((*titles, "verdict"))
    for rank in ranks:
        witness = rank.witness
        gids = ", ".join(f"{use.index} ({use.address})" for use in witness.gids)
        add_row(
            shown,
            "?" if witness.rank is None else str(witness.rank),
            rank.process or rank.files[0],
            witness.network or witness.plugin or "unknown",
            ", ".join(witness.devices) or "none",
            f"{witness.channels_ib} RDMA, {witness.channels_socket} TCP",
            {True: "yes", False: "no", None: "unknown"}[rank.gdr],
            gids or "not told",
            witness.version or "unknown",
            rank.kind,
        )
    return shown


def of_log(found: LogVerdict) -> Iterator[Shown]:
    """A row a rank, the notes, the verdict."""
    yield log_ranks(found.report.ranks)
    yield from (f"  {note}" for note in found.notes)
    yield f"verdict: {found.report.kind}"
    if found.report.kind == "rdma":
        yield (
            "  This is what NCCL chose. Whether tokens go there is in the counters: "
            "spark-cluster verify-rdma"
        )


def interval_lines(event: Interval) -> list[str]:
    """The interval's line; the reasons where they are news."""
    line = interval_line(f"{event.time.astimezone():%H:%M:%S}", event.verdict)
    return [line, *(f"          {reason}" for reason in event.verdict.reasons if event.is_news)]


def bandwidth(event: Measured) -> Iterator[Shown]:
    """A row a half and direction, then what is wrong with them."""
    yield _bandwidth(event.rows)
    yield from (f"  {finding.code} {finding.what}" for finding in event.findings)
    for known in dict.fromkeys(finding.code for finding in event.findings):
        yield f"  more: spark-cluster explain {known}"
    if event.rows and all(row.state == "good" for row in event.rows):
        yield "every half delivers what its link should"


def _bandwidth(rows: Sequence[Row]) -> Table:
    numbers = ("Gb/s", "expected", "before")
    table = new_table("from", "to", "rail", *numbers, "", right=numbers)
    for row in rows:
        measured = amount(row.gbits) if row.gbits is not None else "unknown"
        wanted = f">= {amount(row.wanted)}" if row.wanted is not None else "unknown"
        before = f"{amount(row.before.gbits)} on {row.before.when[:10]}" if row.before else ""
        rail = " + ".join(row.rails)
        add_row(table, row.source, row.sink, rail, measured, wanted, before, row.state)
    return table
