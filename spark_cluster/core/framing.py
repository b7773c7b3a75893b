"""How a script tells its own lines from those of strangers that it passes on. Pure.

A script prints logs, file names, answers of servers: bytes that others choose. Its own lines among
them begin with `$SPARK_MARK`, a word that the transport makes anew for every exec and hands over on
standard input only, so that nobody can have written it before. What comes back is read once, at the
door: the script's lines then begin with `@@`, and no other line does.
"""

from __future__ import annotations

import re
import secrets

#: What begins a line of a script's own, inside double quotes. Without a transport, as when somebody
#: runs a fragment by hand, it is what the parsers read.
MARK = "${SPARK_MARK:-@@}"

#: What begins such a line when it has been read.
READ = "@@"

_FOREIGN = re.compile(r"^@@", re.MULTILINE)


def new_mark() -> str:
    """A word that nobody can guess."""
    return secrets.token_hex(16)


def assignment(mark: str) -> str:
    """Shell that gives a script its mark. Not exported: what the script starts does not see it."""
    return f"SPARK_MARK={mark}"


def read(text: str, mark: str) -> str:
    """The output of a script with this mark: its own lines, and no others, begin with `@@`."""
    if READ in text:
        text = _FOREIGN.sub(f" {READ}", text)
    return re.sub(rf"^{re.escape(mark)}", READ, text, flags=re.MULTILINE) if mark in text else text


def blocks(text: str, mark: str) -> list[tuple[str, str]]:
    """The parts of an output that begin with a line `MARK HEADER`, as it was read: the header, and
    what follows up to the next."""
    parts = f"\n{text}".split(f"\n{mark} ")[1:]
    return [(header, rest) for header, _, rest in (part.partition("\n") for part in parts)]
