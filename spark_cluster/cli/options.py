"""The options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

InventoryOption = Annotated[
    str | None,
    typer.Option("--inventory", "-i", metavar="FILE", help="Inventory file to use."),
]
HostsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--hosts",
        metavar="NAME",
        help="Limit to these hosts or groups (repeatable, comma-separated).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show verbose output.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="STEP.PARAMETER=VALUE", help="Override a playbook parameter (repeatable)."
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change without changing it.")
]
GroupOption = Annotated[
    str | None,
    typer.Option("--group", help="Group of the inventory to serve on, or HOST,HOST (head first)."),
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Use this profile of the recipe."),
]
WithOption = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="NAME", help="Turn on this option of the recipe (repeatable)."),
]
PpOption = Annotated[
    bool, typer.Option("--pp", help="Use pipeline parallelism (the recipe's option pp).")
]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Write more to the logs (the recipe's option debug).")
]
DualRailOption = Annotated[
    bool,
    typer.Option(
        "--dual-rail", help="Use both halves of the port (the recipe's option dual-rail)."
    ),
]
AllowManagementOption = Annotated[
    bool,
    typer.Option(
        "--allow-management-interface",
        help="Allow changes to the interface that SSH came in on.",
    ),
]

ToOption = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="NAME",
        help="Hosts or groups to copy to; default: the only group, else all hosts.",
    ),
]
FromOption = Annotated[
    str | None, typer.Option("--from", metavar="HOST", help="Copy from this host.")
]
EncryptOption = Annotated[
    bool,
    typer.Option("--encrypt", help="Copy through SSH between the nodes (needs `mesh`, slower)."),
]
IperfOption = Annotated[bool, typer.Option("--iperf", help="Measure the route with iperf3 first.")]


#: What an option means that is not given.
_LEFT_OUT = {
    "--hosts": "Leave it out for all hosts.",
    "--to": "Leave it out for the only group, else all hosts.",
}


def split(values: list[str] | None, option: str = "--hosts") -> list[str] | None:
    """`--hosts a,b --hosts c` as three names. Raises InputError if there is no name in what was
    given: a shell's variable without a value shall not mean everything."""
    from spark_cluster.core.error import InputError

    if not values:
        return None
    names = [name for value in values for name in value.split(",") if name]
    if not names:
        remedy = _LEFT_OUT.get(option, "Give it a name.")
        raise InputError(f"{option} is empty: it names nothing", remedy=remedy)
    return names


def not_empty(name: str | None, what: str = "RECIPE") -> str | None:
    """A name that may be left out, as it was given. Raises InputError for an empty one."""
    from spark_cluster.core.error import InputError

    if name == "":
        raise InputError(f"{what} is empty: it names nothing", remedy="Leave it out, or name one.")
    return name
