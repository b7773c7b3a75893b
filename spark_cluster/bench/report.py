"""A run as Markdown: what was measured, on what, how, and the figures. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from spark_cluster.bench.compare import Comparison
from spark_cluster.bench.results import HostFigures, Level, Run
from spark_cluster.bench.tables import COLUMNS, amount, rate, seconds
from spark_cluster.core.printable import one_line

_METHOD = {
    "sweep": (
        "Each level keeps that many requests under way, a new one as soon as one ends. tok/s are "
        "the answers' tokens of all requests by the level's whole time; each tok/s is what one "
        "user sees after the first token (median)."
    ),
    "prefill": (
        "Prefill is a prompt's tokens by its TTFT (median): it includes the network and one step "
        "of decoding."
    ),
    "image": (
        "One picture a request, each another one. prompt tok/s counts text and picture as the "
        "server does."
    ),
}

_TERMS = (
    "Times are in seconds. TTFT: from sending the request to its first token. ITL: between two "
    "chunks of tokens. latency: to the last token. Only requests that succeeded are in the times; "
    "the others are counted. Warm-up requests are not in the figures. Every prompt begins with "
    "words of its own, so that a prefix cache has nothing to answer with."
)


def markdown(runs: Sequence[Run], plots: Mapping[str, str]) -> str:
    """A document of all runs. `plots`: kind -> a plot's path, relative to the document."""
    lines = [f"# Benchmark: {', '.join(dict.fromkeys(run.server.model for run in runs))}", ""]
    for run in runs:
        lines += [*_run(run), ""]
    for kind, path in plots.items():
        lines += [f"![{kind}]({path})", ""]
    return "\n".join(map(one_line, [*lines, "## Terms", "", _TERMS, ""]))


def _run(run: Run) -> Iterator[str]:
    yield from (f"## {run.title}", "")
    yield from (f"- {name}: {value}" for name, value in _about(run) if value)
    yield ""
    columns = COLUMNS[run.kind]
    yield from table(
        [column.title for column in columns],
        [[column.cell(level) for column in columns] for level in run.levels],
    )
    if any(level.hosts for level in run.levels):
        yield from ("", *_hosts(run.levels))
    remarks = list(_remarks(run))
    if remarks:
        yield from ("", *(f"- {remark}" for remark in remarks))
    yield from ("", _METHOD[run.kind])


def _about(run: Run) -> Iterator[tuple[str, str]]:
    server = run.server
    engine = " ".join(part for part in (server.owned_by, server.version) if part)
    yield "model", server.model
    yield "engine", engine
    yield "endpoint", server.endpoint
    yield "recipe", str(run.deployment.get("recipe") or "")
    hosts = run.deployment.get("hosts")
    yield "hosts", ", ".join(map(str, hosts)) if isinstance(hosts, list) else ""
    yield "measured", f"{run.started} to {run.ended}, {run.tool} ({run.program})"
    yield "arguments", _arguments(run.arguments)
    yield "prompts", run.prompts


def _arguments(arguments: Mapping[str, Any]) -> str:
    told = (f"{name} {json.dumps(value)}" for name, value in arguments.items() if value is not None)
    return ", ".join(told)


def _hosts(levels: Sequence[Level]) -> Iterator[str]:
    rows = [_host(level, host) for level in levels for host in level.hosts]
    yield from table(["level", "host", "rails", "tx/token", "rx/token", "W", "SM MHz"], rows)


def _host(level: Level, host: HostFigures) -> list[str]:
    rails = [rail for rail in host.rails if rail.tx or rail.rx] or list(host.rails)
    return [
        level.name,
        f"{host.host} (rank {host.rank})",
        ", ".join(rail.device for rail in rails) or host.problem or "-",
        ", ".join(amount(rail.tx_per_token, rail.unit) for rail in rails) or "-",
        ", ".join(amount(rail.rx_per_token, rail.unit) for rail in rails) or "-",
        _mean(host.watts),
        _mean(host.sm_mhz),
    ]


def _mean(values: Sequence[float]) -> str:
    return f"{fmean(values):.0f}" if values else "-"


def _remarks(run: Run) -> Iterator[str]:
    yield from run.notes
    if run.interrupted:
        yield "the run was interrupted: later levels are missing"
    for level in run.levels:
        yield from (f"{level.name}: {note}" for note in level.notes)
        for error, number in level.summary.errors.items():
            yield f"{level.name}: {number} failed: {error}"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table; all but the first column to the right."""
    yield _line(titles)
    yield _line(["---", *["---:"] * (len(titles) - 1)])
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


# A comparison

COMPARED = ("level", "figure", "A", "B", "B / A", "95 % interval", "verdict")


def compared(comparison: Comparison) -> list[list[str]]:
    """The rows under COMPARED."""
    rows = []
    for row in comparison.rows:
        show = seconds if row.unit == "s" else rate
        interval = "-" if row.low is None or row.high is None else f"{row.low:.3f}-{row.high:.3f}"
        rows.append(
            [
                row.level,
                f"{row.figure} {row.unit}",
                show(row.a),
                show(row.b),
                "-" if row.ratio is None else f"{row.ratio:.3f}",
                interval,
                row.verdict,
            ]
        )
    return rows


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison as a section of a document."""
    lines = [f"## {comparison.b} (B) against {comparison.a} (A)", ""]
    lines += [*table(COMPARED, compared(comparison)), ""]
    lines += [f"- {note}" for note in comparison.notes]
    return "\n".join(map(one_line, [*lines, ""]))
