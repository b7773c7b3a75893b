from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

from . import living, telling
from .containers import Refused

VERSION = "28.5.1"
RUNTIMES = ("io.containerd.runc.v2", "nvidia", "runc")

_VERBS: dict[str, Callable[[list[str]], int]] = {
    "run": living.run,
    "start": living.start,
    "exec": living.execute,
    "stop": lambda words: living.end("stop", words),
    "kill": lambda words: living.end("kill", words),
    "rm": lambda words: living.end("rm", words),
    "logs": telling.logs,
    "ps": telling.ps,
    "inspect": telling.inspect,
    "top": telling.top,
    "image": telling.image,
    "images": lambda _: 0,
    "stats": lambda _: 0,
}


def main(words: list[str]) -> int:
    if words[:1] == ["container"]:
        words = words[1:]
    verb, rest = (words[0] if words else ""), words[1:]
    try:
        if verb in _VERBS:
            return _VERBS[verb](rest)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    if verb == "info":
        print(f"{VERSION} {','.join(RUNTIMES)},")
    elif verb == "version":
        print(VERSION)
    else:
        print(f"docker: '{verb}' is not a docker command.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # how this program was found is not for the containers
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1:]))
