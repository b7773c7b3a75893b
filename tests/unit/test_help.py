"""`--help` of the program and of every command, on a terminal of 80 columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from spark_cluster.cli.app import app, run
from spark_cluster.cli.sections import PROGRAM

ROOT: Any = typer.main.get_command(app)


def commands(command: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def shown(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*path, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("path", list(commands()), ids=lambda path: " ".join(path) or "program")
def test_no_text_is_cut_off_at_80_columns(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = shown(path, capsys, monkeypatch)
    assert max(map(len, said.splitlines())) <= 80
    assert "\u2026" not in said
    # `...` stands for several only: [FILE]..., HOST..., COMMAND [ARGS]...
    assert not re.search(r"[a-z,;:]\.\.\.(?! *<)", said)


@pytest.mark.parametrize("path", list(commands()), ids=lambda path: " ".join(path) or "program")
def test_every_option_says_what_it_does_in_a_sentence(path: tuple[str, ...]) -> None:
    command = ROOT
    for name in path:
        command = command.commands[name]
    for parameter in command.params:
        if not parameter.opts[0].startswith("-"):
            continue  # of an argument, typer 0.23 keeps its text elsewhere
        text = parameter.help or ""
        assert re.match(r"[A-Z-]", text), (parameter.name, text)
        assert text.endswith((".", ")")), (parameter.name, text)


def test_the_program_lists_every_command_in_one_section(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name for section in PROGRAM.values() for name in section]
    assert sorted(names) == sorted(ROOT.commands)
    said = shown((), capsys, monkeypatch)
    for title, section in PROGRAM.items():
        begin = said.index(f"{title}:")
        lines = said[begin:].split("\n\n")[0].splitlines()[1:]
        assert [line.split()[0] for line in lines if line[2] != " "] == list(section)


def test_a_group_lists_the_first_sentence_of_each_command_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = " ".join(shown(("model",), capsys, monkeypatch).split())
    for name, command in ROOT.commands["model"].commands.items():
        first = " ".join(command.help.split("\n\n")[0].split()).split(". ")[0]
        assert f"{name} {first.rstrip('.')}." in said
