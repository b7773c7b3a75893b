"""`spark-cluster plan`: what a verb would change, and nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import typer

from spark_cluster.cli.options import (
    AllowManagementOption,
    Chosen,
    GroupOption,
    Hosts,
    SetOption,
    not_empty,
)
from spark_cluster.cli.output import Output
from spark_cluster.core.error import InputError

#: What a playbook heeds of RECIPE and the options that not all of them share.
_HEEDS = {
    "launch": ("RECIPE", "--group", *Chosen().given()),
    "teardown": ("RECIPE", "--hosts", "--group"),
}
_ELSE = ("--hosts", "--allow-management-interface")


def plan(
    what: Annotated[
        str,
        typer.Argument(metavar="PLAYBOOK", help="Playbook to plan: bootstrap, launch or teardown."),
    ],
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="Recipe to launch or tear down (required for launch)."
        ),
    ] = None,
    *,
    commands: Annotated[
        bool, typer.Option("--commands", help="Show the shell commands of every change.")
    ] = False,
    where: Hosts,
    group: GroupOption = None,
    chosen: Chosen,
    settings: SetOption = None,
    allow_management: AllowManagementOption = False,
    output: Output,
) -> int:
    """Show what a playbook would change on which host. Changes nothing."""
    from spark_cluster.actions.bootstrap import playbook_request
    from spark_cluster.actions.launch import launch_request
    from spark_cluster.actions.teardown import teardown_request

    recipe = not_empty(recipe)
    _refuse_idle(
        what,
        {
            "RECIPE": recipe,
            "--hosts": where.hosts,
            "--group": group,
            **chosen.given(),
            "--allow-management-interface": allow_management,
        },
    )
    given = settings or ()
    if what == "launch":
        if not recipe:
            raise InputError(
                "plan launch: which recipe?", remedy="`spark-cluster recipes` lists them."
            )
        request = launch_request(where.load(), recipe, chosen.choices(group, anyway=True), given)
    elif what == "teardown":
        hosts = where.load_hosts(group)
        request = teardown_request(*hosts, recipe=recipe or "", settings=given)
    else:
        request = playbook_request(
            what, *where.load_hosts(), settings=given, allow_management=allow_management
        )
    asked = replace(request, verb=f"plan {what}") if what != "launch" else request
    return output.run(asked, dry_run=True, commands=commands)


def _refuse_idle(what: str, given: Mapping[str, object]) -> None:
    """Raises InputError for what the playbook would not heed: its plan would be another one."""
    heeds = _HEEDS.get(what, _ELSE)
    idle = [name for name, value in given.items() if (value or value == "") and name not in heeds]
    if idle:
        where = " --group says where it serves." if "--hosts" in idle else ""
        raise InputError(
            f"plan {what} takes no {', '.join(idle)}",
            remedy=f"Leave {'it' if len(idle) == 1 else 'them'} out.{where}",
        )
