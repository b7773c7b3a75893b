"""What docker tells: ps, inspect, top, logs, images."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .containers import Refused, everything, find, wanted
from .living import parser_of
from .templates import fill


def logs(words: list[str]) -> int:
    parser = parser_of("logs")
    parser.add_argument("--tail", default="all")
    parser.add_argument("--since", default="")
    parser.add_argument("--timestamps", "-t", action="store_true")
    parser.add_argument("--follow", "-f", action="store_true")
    parser.add_argument("name")
    given = parser.parse_args(words)
    container = find(given.name)
    since = _since(given.since)
    lines = [each for each in container.lines() if not each[0] or each[0] >= since]
    count = len(lines) if given.tail == "all" else int(given.tail)
    _print_lines(lines[-count:] if count else [], stamped=given.timestamps)
    told = len(container.lines())
    while given.follow and container.is_running:
        time.sleep(0.2)
        lines = container.lines()
        _print_lines(lines[told:], stamped=given.timestamps)
        told = len(lines)
    return 0


def _since(text: str) -> str:
    """A time as the log has it: of docker's times and durations."""
    duration = re.fullmatch(r"(\d+)(s|m|h)", text)
    if duration:
        seconds = int(duration[1]) * {"s": 1, "m": 60, "h": 3600}[duration[2]]
        return f"{datetime.fromtimestamp(time.time() - seconds, UTC):%Y-%m-%dT%H:%M:%S}"
    return text.rstrip("Z")


def _print_lines(lines: Sequence[tuple[str, str]], *, stamped: bool) -> None:
    out = sys.stdout.buffer
    for stamp, text in lines:
        out.write(f"{stamp} {text}\n".encode() if stamped and stamp else f"{text}\n".encode())
    out.flush()


def ps(words: list[str]) -> int:
    parser = parser_of("ps")
    for flag in ("--all", "--quiet"):
        parser.add_argument(flag, flag[1:3], action="store_true")
    for flag in ("--no-trunc", "--size"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--filter", action="append", default=[])
    parser.add_argument("--format", default="{{.ID}} {{.Image}} {{.Status}} {{.Names}}")
    given = parser.parse_args(words)
    for each in everything():
        if (given.all or each.is_running) and wanted(each, given.filter):
            print(each.id if given.quiet else fill(given.format, each.row()))
    return 0


def inspect(words: list[str]) -> int:
    parser = parser_of("inspect")
    parser.add_argument("--format", "-f", default="")
    parser.add_argument("names", nargs="+")
    given = parser.parse_args(words)
    found = [find(name).record() for name in given.names]
    if given.format:
        print("\n".join(fill(given.format, record) for record in found))
    else:
        print(json.dumps(found, indent=1))
    return 0


def top(words: list[str]) -> int:
    container = find(words[0])
    if "command" not in container.spec:
        raise Refused("docker top: made by others, it has no processes of its own")
    only_pids = words[1:] == ["-o", "pid"]
    print("PID" if only_pids else "PID COMMAND")
    for pid in container.pids:
        with contextlib.suppress(OSError):
            words_of = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            text = "" if only_pids else f" {words_of.decode(errors='replace').strip()}"
            print(f"{pid}{text}")
    return 0


def image(words: list[str]) -> int:
    """Every image is there."""
    if words[:1] != ["inspect"]:
        return 0
    digest = hashlib.sha256(words[-1].encode()).hexdigest()
    name = words[-1].partition(":")[0]
    record = {"Id": f"sha256:{digest}", "RepoDigests": [f"{name}@sha256:{digest}"],
              "Config": {"Labels": None}}  # fmt: skip
    template = words[words.index("--format") + 1] if "--format" in words else "{{json .}}"
    print(fill(template, record))
    return 0
