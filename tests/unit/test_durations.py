"""Durations on the command line, and the words of an earlier release."""

from __future__ import annotations

import pytest
import typer

from spark_cluster.cli.durations import duration, told
from tests.command_line import Cli

from .world import INVENTORY


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("30s", 30), ("10m", 600), ("2h", 7200), ("0.5s", 0.5), ("1.5m", 90), (" 5s ", 5)],
)
def test_a_duration_has_its_unit(
    given: str, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert duration("--x", least=0)(given) == seconds
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("given", ["", "s", "5x", "-5s", "1e9", "nan", "5 s", "٥s", "5S"])
def test_what_is_none(given: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration("--x", least=0)(given)


@pytest.mark.parametrize("given", ["1s", "11m"])
def test_its_limits_are_told_with_their_units(given: str) -> None:
    with pytest.raises(typer.BadParameter, match="not from 2s to 10m"):
        duration("--x", least=2, most=600)(given)


@pytest.mark.parametrize(("bare", "seconds"), [("s", 5), ("m", 300)])
def test_a_bare_number_is_what_it_was_and_says_so(
    bare: str, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert duration("--x", least=0, bare=bare)("5") == seconds
    assert capsys.readouterr().err == f"note: --x 5 is 5{bare}; write the unit\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5s"), (15, "15s"), (90, "90s"), (600, "10m"), (7200, "2h")]
)
def test_told_reads_back(seconds: float, text: str) -> None:
    assert told(seconds) == text
    assert duration("--x", least=0)(text) == seconds


def test_the_command_line_names_the_option(cli: Cli) -> None:
    said = cli("watch", "--interval", "soon", "-i", INVENTORY)
    assert said.code == 2
    assert "Invalid value for '--interval': 'soon' is no duration such as 30s" in said.err


def test_an_old_name_works_and_is_told(cli: Cli) -> None:
    said = cli("watch", "--resume")
    assert said.code == 0
    assert said.err == "note: watch --resume is now --unpause; the next release knows only that\n"
