"""Groups of commands, and how `--help` lists them: in sections, with whole first sentences."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import typer
from typer.core import TyperGroup

from spark_cluster.cli.grouped import grouped

F = TypeVar("F", bound=Callable[..., Any])

#: The program's commands in the order of a cluster's life.
PROGRAM: Mapping[str, tuple[str, ...]] = {
    "Set up": ("init", "trust", "bootstrap", "mesh", "undo"),
    "Serve": ("plan", "launch", "status", "logs", "relaunch", "failover", "teardown", "compose"),
    "Prove and diagnose": ("verify-rdma", "check", "doctor", "explain", "evidence", "history"),
    "Models": ("recipes", "model", "image", "cache"),
    "Measure and monitor": ("bench", "watch", "monitor", "services"),
    "Lab": ("lab",),
}


class Group(TyperGroup):
    """A group of commands under one heading."""

    def sections(self, names: Sequence[str]) -> Iterable[tuple[str, Sequence[str]]]:
        """The headings, and the commands under each."""
        return [("Commands", names)]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """typer's own cuts a sentence that does not fit into the line."""
        names = self.list_commands(ctx)
        width = max(map(len, names), default=0)
        for title, members in self.sections(names):
            rows = [(name.ljust(width), _first_sentence(self.commands[name])) for name in members]
            with formatter.section(title):
                formatter.write_dl(rows)


class Program(Group):
    """The program itself: its commands in the sections of PROGRAM."""

    def sections(self, names: Sequence[str]) -> Iterable[tuple[str, Sequence[str]]]:
        return [(title, [name for name in own if name in names]) for title, own in PROGRAM.items()]


class Verbs(typer.Typer):
    """Commands under one name; without one of them its help is shown."""

    def __init__(self, name: str, says: str, **more: Any) -> None:
        settings = {"cls": Group, "no_args_is_help": True, "rich_markup_mode": None, **more}
        super().__init__(name=name, help=says, **settings)

    def verb(self, name: str | None = None, **more: Any) -> Callable[[F], F]:
        """A command; its parameters may be groups of options (grouped.py)."""

        def add(function: F) -> F:
            self.command(name, **more)(grouped(function))
            return function

        return add


def _first_sentence(command: Any) -> str:
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", paragraph, maxsplit=1)[0]
