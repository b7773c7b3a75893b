"""`spark-cluster plan`: what a verb would change, and nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from spark_cluster.cli.options import (
    AllowManagementOption,
    DebugOption,
    DualRailOption,
    GroupOption,
    HostsOption,
    InventoryOption,
    JsonOption,
    PpOption,
    ProfileOption,
    SetOption,
    VerboseOption,
    WithOption,
    not_empty,
    split,
)

#: What a playbook heeds of RECIPE and the options that not all of them share.
_HEEDS = {
    "launch": ("RECIPE", "--group", "--profile", "--with", "--pp", "--dual-rail", "--debug"),
    "teardown": ("RECIPE", "--hosts", "--group"),
}
_ELSE = ("--hosts", "--allow-management-interface")


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)


def plan(
    what: Annotated[
        str,
        typer.Argument(metavar="PLAYBOOK", help="Playbook to plan: bootstrap, launch or teardown."),
    ],
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE]", help="Recipe to launch or tear down (required for launch)."
        ),
    ] = None,
    commands: Annotated[
        bool, typer.Option("--commands", help="Show the shell commands of every change.")
    ] = False,
    inventory: InventoryOption = None,
    hosts: HostsOption = None,
    group: GroupOption = None,
    profile: ProfileOption = None,
    options: WithOption = None,
    pp: PpOption = False,
    dual_rail: DualRailOption = False,
    debug: DebugOption = False,
    settings: SetOption = None,
    allow_management: AllowManagementOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Show what a playbook would change on which host. Changes nothing."""
    from dataclasses import replace

    from spark_cluster.actions.running import Request, load_inventory
    from spark_cluster.actions.taking_down import named_hosts, teardown_request
    from spark_cluster.cli.verbs import run_playbook
    from spark_cluster.core.error import InputError
    from spark_cluster.inventory import rings
    from spark_cluster.inventory.loader import select
    from spark_cluster.steps.view import Options

    recipe = not_empty(recipe)
    _refuse_idle(
        what,
        {
            "RECIPE": recipe,
            "--hosts": hosts,
            "--group": group,
            "--profile": profile,
            "--with": options,
            "--pp": pp,
            "--dual-rail": dual_rail,
            "--debug": debug,
            "--allow-management-interface": allow_management,
        },
    )
    loaded = load_inventory(inventory)
    if what == "launch":
        from spark_cluster.actions.deploying import Choices, chosen_options
        from spark_cluster.cli.commands.launch import launch_request

        if not recipe:
            raise InputError(
                "plan launch: which recipe?", remedy="`spark-cluster recipes` lists them."
            )
        names = chosen_options(options, pp=pp, debug=debug, dual_rail=dual_rail)
        choices = Choices(group, profile, names, anyway=True)
        request = launch_request(
            loaded, recipe, choices, settings or (), as_json=as_json, verbose=verbose
        )
    elif what == "teardown":
        request = teardown_request(
            loaded, named_hosts(loaded, hosts, group), recipe=recipe or "",
            settings=settings or (), as_json=as_json, verbose=verbose,
        )  # fmt: skip
        request = replace(request, verb="plan teardown")
    else:
        request = Request(
            verb=f"plan {what}",
            playbook=what,
            hosts=select(loaded, split(hosts)),
            inventory=loaded,
            settings=settings or (),
            options=Options(allow_management=allow_management),
            warnings=rings.warnings(loaded),
            as_json=as_json,
            verbose=verbose,
        )
    return run_playbook(request, dry_run=True, commands=commands)


def _refuse_idle(what: str, given: Mapping[str, object]) -> None:
    """Raises InputError for what the playbook would not heed: its plan would be another one."""
    from spark_cluster.core.error import InputError

    heeds = _HEEDS.get(what, _ELSE)
    idle = [name for name, value in given.items() if (value or value == "") and name not in heeds]
    if idle:
        where = " --group says where it serves." if "--hosts" in idle else ""
        raise InputError(
            f"plan {what} takes no {', '.join(idle)}",
            remedy=f"Leave {'it' if len(idle) == 1 else 'them'} out.{where}",
        )
