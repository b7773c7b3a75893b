"""The options that several verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

InventoryOption = Annotated[
    str | None,
    typer.Option("--inventory", "-i", metavar="FILE", help="The inventory to use."),
]
HostsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--hosts", metavar="NAME", help="Only these hosts or groups; repeat or use commas."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Tell every detail.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="STEP.PARAMETER=VALUE", help="Change a parameter of the playbook."
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would change; change nothing.")
]
GroupOption = Annotated[
    str | None,
    typer.Option("--group", help="The inventory's group that serves, head first."),
]
AllowManagementOption = Annotated[
    bool,
    typer.Option(
        "--allow-management-interface",
        help="Allow changes to the interface that SSH came in on.",
    ),
]


def split(values: list[str] | None) -> list[str] | None:
    """`--hosts a,b --hosts c` as three names."""
    if not values:
        return None
    return [name for value in values for name in value.split(",") if name]
