"""The options that several verbs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spark_cluster.cli.durations import time_option
from spark_cluster.core.error import InputError

if TYPE_CHECKING:
    from spark_cluster.actions.deploying import Choices
    from spark_cluster.inventory.models import Inventory

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
RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe name or .yaml file.")]
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
PortOption = Annotated[
    int | None,
    typer.Option("--port", min=1024, max=65535, help="Serve on this port, not on the recipe's."),
]
ImageOption = Annotated[
    str | None,
    typer.Option("--image", metavar="NAME", help="Run this image, not the recipe's."),
]
ContextOption = Annotated[
    int | None,
    typer.Option("--context", metavar="TOKENS", min=1, help="Longest sequence, in tokens."),
]
ArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--arg",
        metavar="NAME=VALUE",
        help="Set an argument of the engine, as the recipe's `args` do; NAME= takes it out "
        "(repeatable).",
    ),
]
EnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME=VALUE",
        help="Set a variable of the containers; NAME= takes it out (repeatable).",
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


def interval_option(says: str, *, least: float, most: float = 3600, **more: Any) -> Any:
    """--interval, in seconds from `least` to `most`; `says` is its help."""
    return time_option("--interval", says, least=least, most=most, **more)


@dataclass(frozen=True)
class Where:
    """The inventory."""

    inventory: InventoryOption = None

    def load(self) -> Inventory:
        """The inventory that is given, else the user's own, else the one that ships. Raises
        InputError."""
        from spark_cluster.actions.run import load_inventory

        return load_inventory(self.inventory)


@dataclass(frozen=True)
class Hosts(Where):
    """The inventory, and the hosts of it that a verb is limited to."""

    hosts: HostsOption = None

    def load_hosts(self, group: str | None = None) -> tuple[Inventory, list[str]]:
        """The inventory, and the names of the hosts that are given or in `group`; all if there are
        none of both. Raises InputError."""
        from spark_cluster.inventory import loader

        inventory = self.load()
        members = loader.group(inventory, group)[1] if group is not None else ()
        return inventory, loader.select(inventory, [*(split(self.hosts) or ()), *members] or None)


@dataclass(frozen=True)
class Chosen:
    """What may be chosen of a recipe."""

    profile: ProfileOption = None
    options: WithOption = None
    pp: PpOption = False
    dual_rail: DualRailOption = False
    debug: DebugOption = False
    port: PortOption = None
    image: ImageOption = None
    context: ContextOption = None
    arguments: ArgOption = None
    env: EnvOption = None

    def given(self) -> dict[str, object]:
        """What was typed, by the option's name."""
        return {
            "--profile": self.profile,
            "--with": self.options,
            "--pp": self.pp,
            "--dual-rail": self.dual_rail,
            "--debug": self.debug,
            "--port": self.port,
            "--image": self.image,
            "--context": self.context,
            "--arg": self.arguments,
            "--env": self.env,
        }

    def choices(
        self, group: str | None, *, anyway: bool, restart_at_boot: bool | None = None
    ) -> Choices:
        from spark_cluster.actions.deploying import Choices, chosen_options
        from spark_cluster.recipes.overrides import Overrides

        names = chosen_options(self.options, pp=self.pp, debug=self.debug, dual_rail=self.dual_rail)
        overrides = Overrides.typed(
            port=self.port,
            image=not_empty(self.image, "--image") or "",
            context=self.context,
            args=self.arguments or (),
            env=self.env or (),
        )
        return Choices(
            group, self.profile, names, anyway,
            restart_at_boot=restart_at_boot, overrides=overrides,
        )  # fmt: skip


#: What an option means that is not given.
_LEFT_OUT = {
    "--hosts": "Leave it out for all hosts.",
    "--to": "Leave it out for the only group, else all hosts.",
}


def split(values: list[str] | None, option: str = "--hosts") -> list[str] | None:
    """`--hosts a,b --hosts c` as three names. Raises InputError if there is no name in what was
    given: a shell's variable without a value shall not mean everything."""
    if not values:
        return None
    names = [name for value in values for name in value.split(",") if name]
    if not names:
        remedy = _LEFT_OUT.get(option, "Give it a name.")
        raise InputError(f"{option} is empty: it names nothing", remedy=remedy)
    return names


def not_empty(name: str | None, what: str = "RECIPE") -> str | None:
    """A name that may be left out, as it was given. Raises InputError for an empty one."""
    if name == "":
        raise InputError(f"{what} is empty: it names nothing", remedy="Leave it out, or name one.")
    return name
