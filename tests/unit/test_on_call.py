"""docs/on-call.md: only commands and options that exist, and only links that lead somewhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

from spark_cluster import places
from spark_cluster.cli.app import app
from spark_cluster.core.diagnosis import DIAGNOSES

PAGE = places.shipped("playbooks").parent / "docs" / "on-call.md"

if not PAGE.exists():
    pytest.skip("the docs are not beside the program here", allow_module_level=True)

TEXT = PAGE.read_text(encoding="utf-8")


def commands() -> list[str]:
    """What stands after `spark-cluster` in code, up to its end or a comment."""
    inline = re.findall(r"`spark-cluster ([^`]+)`", TEXT)
    lines = re.findall(r"^    spark-cluster ([^#\n]+)", TEXT, re.MULTILINE)
    return sorted({each.strip() for each in (*inline, *lines)})


@pytest.mark.parametrize("line", commands())
def test_every_command_exists_with_its_options(line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = line.split()
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_every_code_exists() -> None:
    codes = set(re.findall(r"\b[A-Z]{3,}\d{3}\b", TEXT))
    assert codes <= set(DIAGNOSES)
    assert codes


def test_every_link_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
