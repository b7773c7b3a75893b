"""`explain`, and that every diagnosis says why and how it is mended."""

from __future__ import annotations

import json
import re

import pytest

from spark_cluster.core.diagnosis import DIAGNOSES
from tests.command_line import Cli, assert_told


@pytest.mark.parametrize("code", ["NET004", "net004"])
def test_explain_says_why_and_what_to_do(cli: Cli, code: str) -> None:
    said = cli("explain", code)
    assert said.code == 0
    assert said.out.startswith("NET004: Jumbo frames do not pass")
    assert "What to do" in said.out


@pytest.mark.parametrize("code", DIAGNOSES)
def test_explain_breaks_no_command_and_no_path(cli: Cli, code: str) -> None:
    """A line ends where a space is: a command can be copied."""
    entry = DIAGNOSES[code]
    assert " ".join(cli("explain", code).out.split()).endswith(f"What to do {entry.fix}")
    assert entry.why in " ".join(cli("explain", code).out.split())


def test_explain_lists_all_codes(cli: Cli) -> None:
    said = cli("explain")
    assert [line.split()[0] for line in said.out.splitlines()] == list(DIAGNOSES)
    assert [entry["code"] for entry in json.loads(cli("explain", "--json").out)] == list(DIAGNOSES)


def test_explain_of_an_unknown_code(cli: Cli) -> None:
    assert_told(cli("explain", "NET999"), "there is no diagnosis 'NET999'", "lists all codes")


def test_every_diagnosis_says_why_and_how_it_is_mended() -> None:
    for code, entry in DIAGNOSES.items():
        assert re.fullmatch(r"[A-Z]+\d{3}", code)
        assert entry.title
        assert len(entry.why) > 30
        assert len(entry.fix) > 15
