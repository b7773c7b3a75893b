"""A `docker` for a node that runs one container: the files in $CONTAINER tell of it.

    spec.json   its name and labels
    pid         of its first process, in the node's own numbers
    exit        its exit code, once it has ended
    log         what it printed

It answers the commands that the program's facts ask with; everything else is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

FOLDER = Path(os.environ.get("CONTAINER", "."))


def read(name: str) -> str:
    path = FOLDER / name
    return path.read_text(errors="replace").strip() if path.exists() else ""


def fields() -> dict[str, str]:
    """What Go's templates of the facts may name."""
    spec = json.loads(read("spec.json"))
    exit_code = read("exit")
    labels = {f'.Label "{key}"': value for key, value in spec["labels"].items()}
    return {
        **labels,
        ".Name": f"/{spec['name']}",
        ".Image": "sha256:1d5e",
        ".State.Status": "exited" if exit_code else "running",
        ".State.ExitCode": exit_code or "0",
        ".State.StartedAt": "2026-11-21T03:15:42.123456789Z",
        ".RestartCount": "0",
        ".State.Pid": "0" if exit_code else read("pid"),
        "json .Config.Labels": json.dumps(spec["labels"], separators=(",", ":")),
    }


def fill(template: str) -> str:
    known = fields()

    def value(found: re.Match[str]) -> str:
        name = found[1].strip()
        return known.get(name, "") if name.startswith(".Label ") else known[name]

    return re.sub(r"\{\{(.*?)\}\}", value, template)


def wanted(filters: list[str]) -> bool:
    known = fields()
    for entry in filters:
        _, key, value = (*entry.split("=", 2), "")[:3]
        if f'.Label "{key}"' not in known or (value and known[f'.Label "{key}"'] != value):
            return False
    return True


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="docker")
    verbs = parser.add_subparsers(dest="verb", required=True)
    ps = verbs.add_parser("ps")
    for flag in ("--all", "--quiet", "--no-trunc"):
        ps.add_argument(flag, action="store_true")
    ps.add_argument("--filter", action="append", default=[])
    ps.add_argument("--format", default="{{.Name}}")
    inspect = verbs.add_parser("inspect")
    inspect.add_argument("--format", required=True)
    inspect.add_argument("name")
    image = verbs.add_parser("image")
    image.add_argument("words", nargs=argparse.REMAINDER)
    logs = verbs.add_parser("logs")
    logs.add_argument("--tail", type=int, default=1_000_000)
    logs.add_argument("--since")  # the log holds the present start only
    logs.add_argument("name")
    execute = verbs.add_parser("exec")
    execute.add_argument("name")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(words)
    if given.verb == "exec":
        os.execvp(given.command[0], given.command)
    if given.verb == "image":
        print("null")  # its labels: it has none
    elif given.verb == "logs":
        print("\n".join(read("log").split("\n")[-given.tail :]))
    elif given.verb == "inspect" or ((given.all or not read("exit")) and wanted(given.filter)):
        print(fill(given.format))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
