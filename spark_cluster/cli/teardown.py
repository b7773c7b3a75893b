"""`spark-cluster teardown`: take down what is ours, and look again."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.options import (
    DryRunOption,
    HostsOption,
    InventoryOption,
    JsonOption,
    SetOption,
    VerboseOption,
    split,
)


def register(app: typer.Typer) -> None:
    app.command("teardown")(teardown)


def teardown(
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Kill at once, and take the lock from whoever holds it."),
    ] = False,
    restore_swap: Annotated[
        bool, typer.Option("--restore-swap", help="Turn the swap of /etc/fstab on again.")
    ] = False,
    dry_run: DryRunOption = False,
    settings: SetOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Stop and remove our containers on every host; a host that is away is `unknown`, exit 3."""
    from spark_cluster.cli.running import Request, activate, load_inventory, lost_results
    from spark_cluster.cli.verbs import run_playbook
    from spark_cluster.core.result import exit_code
    from spark_cluster.inventory.loader import select
    from spark_cluster.runner.lock import PREEMPTIBLE
    from spark_cluster.steps.view import Options

    loaded = load_inventory(inventory)
    request = Request(
        verb="teardown",
        playbook="teardown",
        hosts=select(loaded, split(hosts)),
        inventory=loaded,
        settings=[*(settings or ()), *(["swap.state=on"] if restore_swap else [])],
        options=Options(force=force),
        as_json=as_json,
        verbose=verbose,
        all_hosts_needed=False,
        preempt=PREEMPTIBLE,
        carry_on=True,
    )
    if dry_run:
        return run_playbook(request, dry_run=True)
    with activate(request) as active:
        plan = active.run.plan()
        results = active.run.apply(plan)
        missing = lost_results(active.session, "gone")
        every = [*results, *(r for r in missing if r.host not in {x.host for x in results})]
        code = active.finish(every, code=exit_code(every))
        for result in missing:
            active.say(
                f"unknown: {result.host} was not reached; what runs there may still run. "
                f"Run `spark-cluster teardown --hosts {result.host}` when it answers."
            )
        if code == 0:
            names = ", ".join(active.session.alive)
            active.say(f"nothing of ours runs on {names}")
        return code
