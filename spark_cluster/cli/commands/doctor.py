"""`spark-cluster doctor`: name what is wrong."""

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
from spark_cluster.cli.terminal import say, say_json

if TYPE_CHECKING:
    from spark_cluster.doctor.cluster import Cluster
    from spark_cluster.doctor.finding import Finding

FixOption = Annotated[
    bool,
    typer.Option("--fix", help="Run the bootstrap steps that repair findings, then examine again."),
]


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    fix: FixOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Examine the hosts and name what is wrong, with the fix. Changes nothing without --fix."""
    from spark_cluster.actions.running import load_inventory
    from spark_cluster.cli.views.doctor import read
    from spark_cluster.doctor.examine import examine, exit_code
    from spark_cluster.inventory.loader import select

    loaded = load_inventory(inventory)
    names = select(loaded, split(hosts))
    cluster = read(loaded, names)
    findings = examine(cluster)
    _tell(cluster, findings, as_json=as_json, verbose=verbose, title="doctor")
    if not fix or not _repair(cluster, findings, as_json=as_json, verbose=verbose):
        return exit_code(findings)
    cluster = read(loaded, names)
    findings = examine(cluster)
    _tell(cluster, findings, as_json=as_json, verbose=verbose, title="doctor, after --fix:")
    return exit_code(findings)


def _tell(
    cluster: Cluster, findings: list[Finding], *, as_json: bool, verbose: bool, title: str
) -> None:

    from spark_cluster.cli.terminal import Console
    from spark_cluster.cli.views.doctor import as_data, show

    if as_json:
        phase = "examined" if title == "doctor" else "after-fix"
        say_json(as_data(cluster, findings, phase))
    else:
        show(Console(), cluster, findings, verbose=verbose, title=title)


def _repair(cluster: Cluster, findings: list[Finding], *, as_json: bool, verbose: bool) -> bool:
    """Run the bootstrap playbook's steps that the findings name, on their hosts. Whether
    anything was run; what became of it the second look tells."""
    from spark_cluster.actions.running import Request, activate
    from spark_cluster.cli.verbs import carry_out
    from spark_cluster.core.event import Note
    from spark_cluster.doctor.examine import repairs

    wanted = repairs(findings)
    if not wanted:
        if not as_json:
            say("  --fix: none of it can be repaired without a decision of yours.")
        return False
    named = {host for hosts in wanted.values() for host in hosts}
    request = Request(
        verb="doctor",
        playbook="bootstrap",
        hosts=[name for name in cluster.inventory.hosts if name in named],
        inventory=cluster.inventory,
        as_json=as_json,
        verbose=verbose,
        note=f"bootstrap steps: {', '.join(sorted(wanted))}",
    )
    with activate(request) as active:
        steps = [planned.step.name for planned in active.run.playbook.steps]
        for step in active.run.playbook.lacks(sorted(wanted)):
            active.bus(Note(f"not repaired: the playbook has no step {step}"))
        active.run.leave_out([step for step in steps if step not in wanted])
        carry_out(active, active.run.plan())
    return True
