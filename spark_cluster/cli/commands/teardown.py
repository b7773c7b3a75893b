"""`spark-cluster teardown`: take down what is ours, and look again."""

from __future__ import annotations

from typing import Annotated

import typer

from spark_cluster.cli.durations import time_option
from spark_cluster.cli.options import DryRunOption, Hosts, SetOption, not_empty
from spark_cluster.cli.output import Output
from spark_cluster.core.error import InputError


def teardown(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE", help="Limit to the containers of this recipe."),
    ] = None,
    *,
    where: Hosts,
    group: Annotated[
        str | None, typer.Option("--group", help="Limit to the hosts of this group.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Kill at once, without the lock and even if docker hangs; at most 5 minutes.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Limit to hosts that earlier teardowns did not finish.")
    ] = False,
    wait: Annotated[
        float,
        time_option(
            "--wait",
            "Time to wait for these hosts (with --resume).",
            least=0,
            bare="m",
            show_default=False,
        ),
    ] = 0.0,
    network: Annotated[
        bool,
        typer.Option(
            "--network", help="Also undo the network configuration, as `undo network` does."
        ),
    ] = False,
    restore_swap: Annotated[
        bool, typer.Option("--restore-swap", help="Turn swap listed in /etc/fstab back on.")
    ] = False,
    dry_run: DryRunOption = False,
    settings: SetOption = None,
    output: Output,
) -> int:
    """Stop and remove our containers, and check that they are gone.

    A host that is away is `unknown`, exit 3.
    """
    from spark_cluster.actions.teardown import resume as go_on
    from spark_cluster.actions.teardown import swap_on
    from spark_cluster.actions.teardown import teardown as action

    only = not_empty(recipe) or ""
    if wait and not resume:
        raise InputError(
            "--wait goes with --resume",
            remedy="`spark-cluster teardown --resume --wait 30m` waits for hosts that a "
            "teardown did not reach.",
        )
    loaded, names = where.load_hosts(group)
    if resume and (only or dry_run or network):
        raise InputError(
            "--resume goes on with what was begun: it takes no RECIPE, --dry-run or --network",
            remedy="Leave them out; --hosts, --force and --wait go with it.",
        )
    with output.operator(goes_on=not dry_run) as operator:
        if resume:
            return go_on(
                loaded, names, operator,
                settings=[*swap_on(restore_swap), *(settings or ())], seconds=wait, force=force,
            ).exit_code  # fmt: skip
        outcomes = action(
            loaded, names, operator,
            recipe=only, force=force, settings=settings or (), network=network,
            restore_swap=restore_swap, dry_run=dry_run,
        )  # fmt: skip
        return [output.finish(outcome) for outcome in outcomes][-1]
