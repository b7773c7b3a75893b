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
    from spark_cluster.doctor.examine import examine, exit_code

    loaded = where.load()
    names = where.select(loaded)
    with output.operator() as operator:
        cluster = action.read(loaded, names, operator)
        findings = examine(cluster)
        view.tell(output, cluster, findings)
        if not fix:
            return exit_code(findings)
    with output.operator(goes_on=True) as operator:
        if action.repair(cluster, findings, operator) is None:
            output.say("  --fix: none of it can be repaired without a decision of yours.")
            return exit_code(findings)
        cluster = action.read(loaded, names, operator)
    findings = examine(cluster)
    view.tell(output, cluster, findings, after_fix=True)
    return exit_code(findings)
