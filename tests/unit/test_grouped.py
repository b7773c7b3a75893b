"""Options that several commands have in common, as one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from spark_cluster.cli.grouped import grouped


@dataclass(frozen=True)
class Common:
    """Two options."""

    word: Annotated[str, typer.Option("--word", help="A word.")] = "none"
    many: Annotated[int, typer.Option("--many", min=1)] = 1


app = typer.Typer(rich_markup_mode=None)


@app.command()
@grouped
def tell(
    *,
    name: Annotated[str, typer.Argument()] = "nobody",
    first: Annotated[bool, typer.Option("--first")] = False,
    common: Common,
    last: Annotated[bool, typer.Option("--last")] = False,
) -> None:
    """Say what arrived."""
    typer.echo(f"{name} {first} {common.word} {common.many} {last}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nobody False none 1 False\n"),
        (["eve", "--word", "x", "--many", "3", "--last"], "eve False x 3 True\n"),
    ],
)
def test_the_command_gets_the_group_with_what_was_given(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.output) == (0, said)


def test_a_groups_options_are_checked_as_any_others() -> None:
    done = CliRunner().invoke(app, ["--many", "0"])
    assert done.exit_code == 2
    assert "--many" in done.output


def test_help_shows_the_group_where_its_parameter_stands() -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    order = [said.index(option) for option in ("--first", "--word", "--many", "--last")]
    assert order == sorted(order)
    assert "Say what arrived." in said
    assert "A word." in said
