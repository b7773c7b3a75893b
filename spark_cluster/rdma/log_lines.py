"""Lines of logs as people paste them: behind docker's, journald's or Ray's prefix, with colours or
their remains, with CRLF, or out of docker's JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

#: The `host:pid` that wrote a line (None: not NCCL's) and the line.
Line = tuple[str | None, str]

#: Colours: as a terminal takes them, as `cat -v` shows them, and as they are left where the escape
#: was lost.
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|(?:\^\[|\u241b)?\[\d{1,3}(?:;\d{1,3})*m")

#: What Ray puts at the end of a line that it shows once for several.
_REPEATED = re.compile(r"\s*\[repeated \d+x across cluster\].*$", re.ASCII)

_PROCESS = re.compile(r"(\S+):(\d+):\d+ (?:\[-?\d+\] |(?=NCCL (?:INFO|WARN) ))", re.ASCII)

#: What a terminal would act on, tabs aside: a log is a stranger's text, and parts of it are shown.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")

_JSON = '{"log":'

#: What docker compose and journald put before a line.
_PREFIX = re.compile(
    r"(?:[A-Za-z0-9][\w.-]{0,80}\s+\| "
    r"|(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.,+-]{8,24}Z?)"
    r" \S{1,80} \S{1,80}\[\d+\]: )",
    re.ASCII,
)


def clean(raw: str) -> str:
    """The line without colours, and without what docker or journald put around it. The time of
    `docker logs --timestamps` stays."""
    if raw.startswith(_JSON):
        try:
            raw = str(json.loads(raw)["log"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return raw
    line = _CONTROL.sub("", _COLOUR.sub("", raw)).rstrip()
    found = _PREFIX.match(line)
    return line[found.end() :] if found else line


def once(line: str) -> str:
    """The line without how often Ray says that it came."""
    return _REPEATED.sub("", line)


def is_folded(line: str) -> bool:
    """Whether Ray shows the line once for several."""
    return bool(_REPEATED.search(line))


def by_process(text: str) -> Iterator[Line]:
    """Each line with the `host:pid` that NCCL put before it (None: no line of NCCL's, or one whose
    prefix was cut off), without what Ray, docker or journald put before that."""
    for raw in text.split("\n"):
        line = clean(raw)
        found = _PROCESS.search(line)
        yield (f"{found[1]}:{found[2]}", line[found.start() :]) if found else (None, line)
