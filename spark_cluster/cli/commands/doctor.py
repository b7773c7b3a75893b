"""`spark-cluster doctor`: name what is wrong."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from spark_cluster.cli.options import Hosts
from spark_cluster.cli.output import Output

FixOption = Annotated[
    bool,
    typer.Option("--fix", help="Run the bootstrap steps that repair findings, then examine again."),
]


def doctor(*, where: Hosts, fix: FixOption = False, output: Output) -> int:
    """Examine the hosts and name what is wrong, with the fix. Changes nothing without --fix."""
    from spark_cluster.actions import doctor as action
    from spark_cluster.cli.views.doctor import lines

    view = partial(lines, verbose=output.verbose)
    loaded, names = where.load_hosts()
    with output.operator() as operator:
        report = action.report(loaded, names, operator)
        output.report(report, view)
    if not fix:
        return report.exit_code
    with output.operator(goes_on=True) as operator:
        if action.repair(loaded, report.findings, operator) is None:
            output.say("  --fix: none of it can be repaired without a decision of yours.")
            return report.exit_code
        report = action.report(loaded, names, operator, after_fix=True)
    return output.report(report, view)
