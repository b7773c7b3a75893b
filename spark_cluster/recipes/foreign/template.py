"""Command templates: their placeholders filled in, their shell taken apart. Pure."""

from __future__ import annotations

import re
import shlex
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: A backslash at the end of a line, also with blanks behind it (sparkrun forgives them).
_CONTINUED = re.compile(r"\\[ \t]*$")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
#: What looks like a placeholder of some tool: {name}, {config.name}, { name }, {name:>3}.
_LEFT = re.compile(r"\{\s*[A-Za-z_][\w.-]*\s*(?:[!:][^{}\"' ]*)?\}|\{\{")
_SINGLE_QUOTED = re.compile(r"'[^']*'")
_PROGRAM = re.compile(r"[A-Za-z_./][\w./+-]*")
_PUNCTUATION = frozenset("();<>|&")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)

#: Defaults may name defaults; more rounds than this is a circle.
_ROUNDS = 10


class BadTemplate(ValueError):
    """What is wrong with the template; `remedy` is what to write instead. `line` is the template's
    line that is meant, from 0 on; `part` a piece of its text that stands where the fault is."""

    def __init__(
        self, message: str, remedy: str, *, line: int | None = None, part: str = ""
    ) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.line = line
        self.part = part


def refuse_leftovers(text: str, *, doubled: bool = False) -> None:
    """Raises BadTemplate for braces that the engine would get and that are no JSON's. `doubled`:
    the format has {{ for a brace."""
    left = _LEFT.search(text)
    if left is None:
        return
    if left[0] != "{{":
        raise BadTemplate(
            f"{left[0]} is filled in by nothing: the engine would get it as it stands",
            "Write the value itself there, or a name that stands in `defaults:`.",
            part=left[0],
        )
    where = "would reach the engine as two braces"
    remedy = 'Write one brace: only format 1 (`recipe_version: "1"`) has two of them for one.'
    if doubled:
        remedy = "Write one brace: only the command itself has two of them for one."
    raise BadTemplate(f"{{{{ {where}", remedy, part="{{")


def fill_braces(template: str, values: Mapping[str, Any]) -> str:
    """sparkrun's way in format 2: `{name}` is replaced, also inside what was put in; other braces
    stay.

    Raises BadTemplate for a name that has no value, and for two braces: the engine would get them.
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
    refuse_leftovers(text)
    return text


def fill_either(template: str, values: Mapping[str, Any]) -> str:
    """sparkrun's way in format 1, which it reads for its older self and for spark-vllm-docker:
    where there is `{{`, two braces are one; else as in format 2. Raises BadTemplate."""
    fill = fill_format if "{{" in template else fill_braces
    return fill(template, values)


def fill_format(template: str, values: Mapping[str, Any]) -> str:
    """spark-vllm-docker's way, which is Python's: `{name}`, and `{{` for a brace.

    Raises BadTemplate for a name that has no value, and for a brace that was not doubled.
    """
    words: list[str] = []
    part = ""
    try:
        for literal, name, spec, conversion in string.Formatter().parse(template):
            words.append(literal)
            if name is None:
                continue
            part = f"{{{name}"
            if not name.isidentifier() or spec or conversion:
                raise ValueError(f"{{{name}}}")
            if name not in values:
                raise _no_value(name, values)
            words.append(str(values[name]))
    except ValueError as error:
        if isinstance(error, BadTemplate):
            raise
        raise BadTemplate(
            f"a brace stands alone: {error}",
            "Write {{ and }} for braces that are none of yours.",
            part=part,
        ) from error
    filled = "".join(words)
    refuse_leftovers(filled, doubled=True)
    return filled


def _no_value(name: str, values: Mapping[str, Any]) -> BadTemplate:
    known = ", ".join(sorted(values))
    return BadTemplate(
        f"{{{name}}} has no value",
        f"Add `{name}:` to `defaults:`; there are {known}.",
        part=f"{{{name}}}",
    )


def words(command: str) -> tuple[dict[str, str], list[str]]:
    """The one program that the command starts, and the variables that it sets before.

    Raises BadTemplate for more shell than that.
    """
    if re.search(r"[$`]", _SINGLE_QUOTED.sub("", command)):
        raise BadTemplate(
            "the shell would put something in for $ or `", "Write the value itself there."
        )
    env: dict[str, str] = {}
    program: list[str] = []
    before = 0
    for line in _lines(command):
        found = line.words
        if found[0] == "export":
            found = found[1:]
        while found and (match := _ASSIGNMENT.fullmatch(found[0])):
            env[match[1]] = match[2]
            found = found[1:]
        if found and program:
            raise _second(program[0], found[0], line, before)
        program = found or program
        before = line.last
    if program[:1] == ["exec"]:
        program = program[1:]
    if not program:
        raise BadTemplate("it starts no program", "Write the server's command there.")
    _refuse_joined(program)
    return env, program


@dataclass(frozen=True)
class _Line:
    """The words of a line of shell, which ends on the template's line `last`; `indented`: it
    begins with a blank."""

    words: list[str]
    last: int
    indented: bool


def _second(first: str, word: str, line: _Line, before: int) -> BadTemplate:
    """The fault of a command with two lines that are not one; the first ends on line `before`."""
    if line.indented or not _PROGRAM.fullmatch(word):
        return BadTemplate(
            f"a backslash is missing at the end of the line before {word}: the shell would start "
            f"{first} without it",
            "End that line with a backslash.",
            line=before,
        )
    return BadTemplate(
        f"it starts {first} and then {word}", "Leave only the server's command.", line=line.last
    )


def _refuse_joined(program: list[str]) -> None:
    """A backslash before a blank makes the blank a part of the next word."""
    for word in program:
        if word[:1].isspace() and word.lstrip().startswith("-"):
            raise BadTemplate(
                f"a backslash stands in the middle of a line, before {word.lstrip()}",
                "Break the line behind it (`command: |`, not `>`), or take it out.",
                part=f"\\{word[:1]}",
            )


def _lines(command: str) -> Iterator[_Line]:
    """The lines of the shell; one may go over several of the text's, by a backslash or a quote."""
    pending, begun = "", False
    indented = False
    for number, line in enumerate(command.splitlines()):
        if not begun:
            if line.lstrip().startswith("#"):
                continue
            indented = line[:1].isspace()
        pending = f"{pending}{line}"
        joined = _CONTINUED.sub("", pending)
        begun = joined != pending
        if begun:
            pending = f"{joined} "
            continue
        split = _split(pending)
        if split is None:
            pending, begun = f"{pending}\n", True
            continue
        if split:
            yield _Line(split, number, indented)
        pending = ""
    if begun and pending.strip():
        split = _split(pending)
        if split is None:
            raise BadTemplate("a quote is not closed", "Close it.")
        if split:
            yield _Line(split, len(command.splitlines()) - 1, indented)


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
