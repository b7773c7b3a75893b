"""A `docker` whose containers attack: what $HOSTILE/containers/*.json tell of them, word for word.

    id, name, state, labels, image_labels    image_labels absent: docker cannot say
    inspect    what `inspect` prints in place of the truth
    log, top   what it has said; lines of `docker top`

It does what the program asks and keeps an account: `removed` has a line for each container that is
gone. Everything else is an error.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("HOSTILE", "."))
STARTED = "2026-11-21T03:15:42.123456789Z"


def containers() -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("containers/*.json"))]
    return [each for each in found if each]


def find(name: str) -> dict[str, Any]:
    for each in containers():
        if name in (each["name"], each["id"], each["id"][:12]):
            return each
    print(f"Error: No such object: {name}", file=sys.stderr)
    sys.exit(1)


def as_go(value: object) -> str:
    """JSON as Go writes it: U+2028 and U+2029 are escaped, U+0085 is not."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def fill(template: str, each: dict[str, Any]) -> str:
    known = {
        ".Id": each["id"],
        ".Image": f"sha256:{each['id']}",
        ".Name": f"/{each['name']}",
        ".State.Status": each.get("state", "running"),
        ".State.ExitCode": "0",
        ".State.StartedAt": STARTED,
        ".State.Pid": "0",
        ".RestartCount": "0",
        "json .Config.Labels": as_go(each["labels"]),
    }
    return re.sub(r"\{\{(.*?)\}\}", lambda found: known[found[1].strip()], template)


def listed(words: list[str]) -> None:
    wanted = [word.partition("=")[2] for word in words if word.startswith("label=")]
    for each in containers():
        held = {(key, value) for key, value in each["labels"].items()}
        pairs = [filter_.partition("=") for filter_ in wanted]
        fits = all(
            (key, value) in held if equals else key in each["labels"]
            for key, equals, value in pairs
        )
        if fits and ("--all" in words or each.get("state", "running") == "running"):
            print(each["id"])


def main(words: list[str]) -> int:
    verb, name = words[0], words[-1]
    out = sys.stdout
    out.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    if verb == "ps":
        listed(words)
    elif verb == "info":
        print("28.5.1 runc,nvidia,")
    elif verb == "inspect":
        each = find(name)
        print(
            each["inspect"] if "inspect" in each else fill(words[words.index("--format") + 1], each)
        )
    elif words[:2] == ["image", "inspect"]:
        owner = find(name.removeprefix("sha256:"))
        if "image_labels" not in owner:
            return 1
        print(as_go(owner["image_labels"]))
    elif verb == "top":
        print("PID COMMAND", *find(words[1]).get("top", []), sep="\n")
    elif verb == "logs":
        for line in find(name).get("log", []):
            print(f"{STARTED} {line}" if "--timestamps" in words else line)
        flood = find(name).get("flood", 0)
        for number in range(flood):
            print(f"2026-11-21T04:00:00.{number:09d}Z {'x' * 990}")
    elif verb == "stop":
        find(name)
    elif verb == "rm":
        each = find(name)
        (FOLDER / f"containers/{each['id']}.json").unlink()
        with (FOLDER / "removed").open("a") as file:
            file.write(f"{each['name']}\n")
    else:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
