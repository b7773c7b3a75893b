"""The text of ssh_config files, with the files that they include in place. Reads files only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

#: Where OpenSSH's own configuration is, in the order in which it counts.
USUAL = ("~/.ssh/config", "/etc/ssh/ssh_config")
#: How deep files may include each other, as in OpenSSH.
DEPTH = 16

_INCLUDE = re.compile(r"\s*include(?:\s*=\s*|\s+)(.+?)\s*", re.IGNORECASE)
_BLOCK = re.compile(r"\s*(?:host|match)(?:\s*=\s*|\s+)\S.*", re.IGNORECASE)


def text_of(paths: Iterable[str | Path]) -> str:
    """One configuration out of these files; those that are not there count as empty."""
    return "".join(f"Host *\n{_expand(Path(path).expanduser(), 0)}\n" for path in paths)


def _expand(path: Path, depth: int) -> str:
    if depth > DEPTH or not path.is_file():
        return ""
    block = "Host *"
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        include = _INCLUDE.fullmatch(line)
        if include is not None:
            lines += [_included(path, include[1], depth), block]
            continue
        if _BLOCK.fullmatch(line):
            block = line
        lines.append(line)
    return "\n".join(lines)


def _included(path: Path, patterns: str, depth: int) -> str:
    """What the files named by an Include line say; relative names start where ssh starts them."""
    base = Path("/etc/ssh") if path.is_relative_to("/etc/ssh") else Path("~/.ssh").expanduser()
    found: list[Path] = []
    for pattern in patterns.replace('"', "").split():
        full = base / Path(pattern).expanduser()
        found += sorted(Path(full.anchor).glob(str(full.relative_to(full.anchor))))
    return "\n".join(_expand(file, depth + 1) for file in found)
