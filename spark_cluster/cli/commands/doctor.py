"""`spark-cluster doctor`: name what is wrong."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.grouped import grouped
from spark_cluster.cli.options import Hosts
from spark_cluster.cli.output import Output

FixOption = Annotated[
    bool,
    typer.Option("--fix", help="Run the bootstrap steps that repair findings, then examine again."),
]


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


@grouped
def doctor(*, where: Hosts, fix: FixOption = False, output: Output) -> int:
    """Examine the hosts and name what is wrong, with the fix. Changes nothing without --fix."""
    from spark_cluster.actions import doctor as action
    from spark_cluster.cli.views import doctor as view

    loaded = where.load()
    names = where.select(loaded)
    with output.operator() as operator:
        report = action.report(loaded, names, operator)
        view.show(output, report)
    if not fix:
        return report.exit_code
    with output.operator(goes_on=True) as operator:
        if action.repair(loaded, report.findings, operator) is None:
            output.say("  --fix: none of it can be repaired without a decision of yours.")
            return report.exit_code
        report = action.report(loaded, names, operator, after_fix=True)
    view.show(output, report)
    return report.exit_code
