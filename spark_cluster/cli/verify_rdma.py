"""`spark-cluster verify-rdma`: counters, tokens, counters, verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spark_cluster.cli.options import (
    HostsOption,
    InventoryOption,
    JsonOption,
    VerboseOption,
    split,
)

if TYPE_CHECKING:
    from rich.table import Table

    from spark_cluster.rdma.verdict import RailRow, Verdict


def register(app: typer.Typer) -> None:
    app.command("verify-rdma")(verify_rdma)


def verify_rdma(
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", min=1, max=100_000, help="How many tokens to generate."),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Measure the links with ib_write_bw; needs no model."),
    ] = False,
    duration: Annotated[
        int,
        typer.Option("--duration", min=1, max=600, help="--probe: seconds per measurement."),
    ] = 5,
    both: Annotated[
        bool,
        typer.Option("--both/--no-both", help="--probe: also both halves of a port at once."),
    ] = True,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Prove that the running model's tokens travel by RDMA. Exit 0 only for the verdict rdma.

    With --probe, measure each half between neighbours instead, each way. Exit 4 on a finding.
    """
    from spark_cluster.cli.running import Request, activate, load_inventory
    from spark_cluster.core.error import CheckFailed
    from spark_cluster.core.event import as_json as to_json
    from spark_cluster.core.result import exit_code
    from spark_cluster.inventory.loader import select
    from spark_cluster.steps.rdma_verdict import head, verdict

    loaded = load_inventory(inventory)
    request = Request(
        verb="verify-rdma",
        playbook="verify-rdma",
        hosts=select(loaded, split(hosts)),
        inventory=loaded,
        settings=[f"rdma-verdict.tokens={tokens}"] if tokens else (),
        as_json=as_json,
        verbose=verbose,
        all_hosts_needed=False,
    )
    if probe:
        from spark_cluster.cli.probe import probe as measure

        return measure(request, seconds=duration, both=both)
    with activate(request) as active:
        results = active.run.apply(active.run.plan())
        views = {name: active.run.view(name) for name in active.session.alive}
        found = head({name: view.facts for name, view in views.items()})
        result = verdict(views[found[0]]) if found else None
        if result is None:
            code = exit_code(results)
            if code:
                return active.finish(results)
            raise CheckFailed(
                f"no running head container of ours on {', '.join(views)}",
                code="RDMA013",
                remedy="Start one with `spark-cluster launch RECIPE`; "
                "`spark-cluster status` shows what runs.",
            )
        members = found[1].label("group").split(",") if found else []
        away = set(members) & set(active.session.lost)
        code = 0 if result.kind == "rdma" else 3 if away else 4
        if active.view is not None:
            active.view.flush()
            active.view.console.print(_table(result, verbose=verbose))
            for reason in result.reasons:
                active.say(f"  {reason}")
            active.say(f"verdict: {result.kind}")
            if result.code:
                active.say(f"  more: spark-cluster explain {result.code}")
        active.finish(results, data={"verdict": to_json(result)}, code=code)
        return code


def _table(result: Verdict, *, verbose: bool) -> Table:
    """A row a rail; rails that the recipe does not name only if they carried anything."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("host")
    for title in ("rank", "rail", "tx", "rx", "tx/token", "rx/token", "errors"):
        table.add_column(title, justify="left" if title == "rail" else "right")
    table.add_column("note")
    for row in result.rows:
        if verbose or row.is_expected or row.tx or row.rx or row.errors:
            table.add_row(*_cells(row))
    return table


def _cells(row: RailRow) -> list[str]:
    from rich.markup import escape

    note = row.note if row.is_expected or row.note else "not a rail of the recipe"
    return [
        row.host,
        str(row.rank),
        row.rail,
        _amount(row.tx, row.unit),
        _amount(row.rx, row.unit),
        _amount(row.tx_per_token, row.unit),
        _amount(row.rx_per_token, row.unit),
        str(sum(row.errors.values())),
        escape(note),
    ]


def _amount(value: float | None, unit: str) -> str:
    from spark_cluster.core.units import human_bytes

    if value is None:
        return "unknown"
    return human_bytes(value) if unit == "B" else f"{value:,.0f} pkt"
