"""`explain`, and that every diagnosis says why and how it is mended."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

import spark_cluster
from spark_cluster import bounded_yaml
from spark_cluster.core import diagnosis
from spark_cluster.core.data_files import read_text
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
    (told,) = cli("explain", "--json").lines
    assert told["kind"] == "diagnoses"
    assert [entry["code"] for entry in told["diagnoses"]] == list(DIAGNOSES)


def test_explain_of_an_unknown_code(cli: Cli) -> None:
    assert_told(cli("explain", "NET999"), "there is no diagnosis 'NET999'", "lists all codes")


def test_every_diagnosis_says_why_and_how_it_is_mended() -> None:
    for code, entry in DIAGNOSES.items():
        assert re.fullmatch(r"[A-Z]+\d{3}", code)
        assert entry.title
        assert len(entry.why) > 30
        assert len(entry.fix) > 15


# The file


def test_no_code_is_given_twice() -> None:
    """bounded_yaml refuses a key given twice; the parser that the program uses takes the last."""
    text = read_text("spark_cluster.core", "diagnoses.yaml")
    assert list(bounded_yaml.load(text)) == list(DIAGNOSES)
    code = next(iter(DIAGNOSES))
    with pytest.raises(yaml.YAMLError, match=f"'{code}' is given twice"):
        bounded_yaml.load(f"{text}{code}: {{title: a, why: b, fix: c}}\n")


def test_the_codes_that_the_program_names_are_those_of_the_file() -> None:
    prefixes = {code.rstrip("0123456789") for code in DIAGNOSES}
    form = re.compile(rf"\b(?:{'|'.join(sorted(prefixes))})\d{{3}}\b", re.ASCII)
    named: set[str] = set()
    root = Path(spark_cluster.__file__).parent
    for path in {*root.rglob("*.yaml")} - {root / "core/diagnoses.yaml"}:
        named.update(form.findall(path.read_text(encoding="utf-8")))
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named.update(form.findall(node.value))
    assert named == set(DIAGNOSES)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("NET1: {title: a, why: b, fix: c}", "'NET1' is no code"),
        ("NET001: a", "NET001: needs title, why, fix"),
        ("NET001: {title: a, why: b}", "NET001: needs title, why, fix"),
        ("NET001: {title: a, why: b, fix: c, more: d}", "NET001: needs title, why, fix"),
        ("NET001: {title: a, why: b, fix: 3}", "NET001: each of"),
        ("NET001: {title: a, why: b, fix: ' '}", "NET001: each of"),
    ],
)
def test_an_entry_that_is_not_whole_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        diagnosis.parse(text)
