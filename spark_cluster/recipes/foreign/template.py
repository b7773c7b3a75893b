"""Command templates: their placeholders filled in, their shell taken apart. Pure."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Mapping
from typing import Any

#: A backslash at the end of a line, also with blanks behind it (sparkrun forgives them).
_CONTINUED = re.compile(r"\\[ \t]*\n")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_SINGLE_QUOTED = re.compile(r"'[^']*'")
_PUNCTUATION = frozenset("();<>|&")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)

#: Defaults may name defaults; more rounds than this is a circle.
_ROUNDS = 10


class BadTemplate(ValueError):
    """What is wrong with the template; `remedy` is what to write instead."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def fill_braces(template: str, values: Mapping[str, Any]) -> str:
    """sparkrun's way: `{name}` is replaced, also inside what was put in; other braces stay.

    Raises BadTemplate for a name that has no value: the engine would get the braces.
    """
    text = template
    for _ in range(_ROUNDS):
        filled = _PLACEHOLDER.sub(lambda m: str(values.get(m[1], m[0])), text)
        if filled == text:
            break
        text = filled
    left = _PLACEHOLDER.search(text)
    if left is not None:
        raise _no_value(left[1], values)
    return text


def fill_format(template: str, values: Mapping[str, Any]) -> str:
    """spark-vllm-docker's way, which is Python's: `{name}`, and `{{` for a brace.

    Raises BadTemplate for a name that has no value, and for a brace that was not doubled.
    """
    words: list[str] = []
    try:
        for literal, name, spec, conversion in string.Formatter().parse(template):
            words.append(literal)
            if name is None:
                continue
            if not name.isidentifier() or spec or conversion:
                raise ValueError(f"{{{name}}}")
            if name not in values:
                raise _no_value(name, values)
            words.append(str(values[name]))
    except ValueError as error:
        if isinstance(error, BadTemplate):
            raise
        raise BadTemplate(
            f"a brace stands alone: {error}", "Write {{ and }} for braces that are none of yours."
        ) from error
    return "".join(words)


def _no_value(name: str, values: Mapping[str, Any]) -> BadTemplate:
    known = ", ".join(sorted(values))
    return BadTemplate(
        f"{{{name}}} has no value", f"Add `{name}:` to `defaults:`; there are {known}."
    )


def words(command: str) -> tuple[dict[str, str], list[str]]:
    """The one program that the command starts, and the variables that it sets before.

    Raises BadTemplate for more shell than that.
    """
    text = _CONTINUED.sub(" ", command.strip() + "\n").strip()
    if re.search(r"[$`]", _SINGLE_QUOTED.sub("", text)):
        raise BadTemplate(
            "the shell would put something in for $ or `", "Write the value itself there."
        )
    env: dict[str, str] = {}
    program: list[str] = []
    for line in _lines(text):
        if line[0] == "export":
            line = line[1:]
        while line and (match := _ASSIGNMENT.fullmatch(line[0])):
            env[match[1]] = match[2]
            line = line[1:]
        if line and program:
            raise BadTemplate(
                f"it starts {program[0]} and then {line[0]}", "Leave only the server's command."
            )
        program = line or program
    if program[:1] == ["exec"]:
        program = program[1:]
    if not program:
        raise BadTemplate("it starts no program", "Write the server's command there.")
    return env, program


def _lines(text: str) -> list[list[str]]:
    """The words of each line; a quoted text may go over several."""
    found: list[list[str]] = []
    pending = ""
    for line in text.splitlines():
        if not pending and line.lstrip().startswith("#"):
            continue
        pending = f"{pending}\n{line}" if pending else line
        split = _split(pending)
        if split is None:
            continue
        if split:
            found.append(split)
        pending = ""
    if pending:
        raise BadTemplate("a quote is not closed", "Close it.")
    return found


def _split(line: str) -> list[str] | None:
    """None if a quote is still open."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        found = list(lexer)
    except ValueError:
        return None
    shell = next((word for word in found if word and set(word) <= _PUNCTUATION), None)
    if shell is not None:
        raise BadTemplate(
            f"it is a shell script ({shell})", "Leave only the server's command, without a shell."
        )
    return found
